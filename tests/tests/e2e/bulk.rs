//! Imports and exports of whole catalogues. Imports that are killed again and again end as if nothing had been, a
//! repetition writes nothing, a dry run tells the truth, and what is exported is imported as it was.

use std::fmt::Write;
use std::fs;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use e2e_tests::trade::unique;
use e2e_tests::{Finished, Shop, eventually, text, tools};
use serde_json::{Value, json};
use testkit::{is_long, say};

/// An import of the larger file, on a busy machine and in a debug build.
const IMPORT_DEADLINE: Duration = Duration::from_secs(600);
/// Until an import has come as far as the next kill.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(300);
/// The read model follows a large import by minutes, on a busy machine.
const SHOWN_DEADLINE: Duration = Duration::from_secs(1_800);
const KILLS: usize = 10;
/// Each has two rows, of which one has a line break in it.
const LINES_OF_A_PRODUCT: usize = 3;
const PRODUCTS: usize = 2_000;
const PRODUCTS_LONG: usize = 50_000;
/// One product of so many cannot be imported.
const BROKEN_EVERY: usize = 100;

/// Writes a catalogue of this many products into the shop's scratch folder.
fn catalogue(shop: &Shop, products: usize) -> PathBuf {
    let mut text =
        String::from("Handle,Title,Body (HTML),Tags,Option1 Name,Option1 Value,SKU,Price,Status\n");
    for n in 0..products {
        let price = if n % BROKEN_EVERY == 7 { "much".to_owned() } else { format!("{}.50", n % 90 + 1) };
        let status = ["active", "draft", "archived"][n % 3];
        write!(
            text,
            "p-{n},Product {n},\"<p>Number {n}\nof many</p>\",\"a, b\",Size,S,,{price},{status}\n\
             p-{n},,,,,M,SKU-{n},12.00,\n"
        )
        .expect("a text takes more");
    }
    let path = shop.scratch().path().join("catalogue.csv");
    fs::write(&path, text).expect("the scratch folder can be written");
    path
}

/// Products that a catalogue of this many has and a shop takes.
fn good(products: usize) -> usize {
    products - (0..products).filter(|n| n % BROKEN_EVERY == 7).count()
}

fn begin(shop: &Shop, file: &Path) -> Child {
    let mut command = shop.command();
    command.arg("import").arg(file).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the shop's binary runs")
}

async fn import(shop: &Shop, file: &Path, arguments: &[&str]) -> Finished {
    let file = file.to_str().expect("the path is text");
    shop.run(&[&["import", file], arguments].concat(), IMPORT_DEADLINE).await
}

async fn count(shop: &Shop, what: &str) -> usize {
    let counted = tools::ask(shop, "product", &format!("SELECT count(*) FROM {what}")).await;
    counted.parse().expect("it is a number")
}

/// How many events of each type there are, and what the read model says once it has them all.
async fn result(shop: &Shop, products: usize) -> (String, String) {
    let types = "SELECT type, count(*) FROM eventlog.events GROUP BY 1 ORDER BY 1";
    let types = tools::ask(shop, "product", types).await;
    eventually("the read model has every product", SHOWN_DEADLINE, async || {
        let behind = "eventsourcing.checkpoints WHERE subscription = 'product.read-model' \
                      AND position >= (SELECT max(position) FROM eventlog.events)";
        (count(shop, behind).await == 1).then_some(())
    })
    .await;
    assert_eq!(count(shop, "products").await, products);
    let rows = "SELECT md5(string_agg(p.handle || p.name || p.description || p.tags || p.status || p.version \
                    || (SELECT string_agg(v.sku || v.option_values || v.price, ',' ORDER BY v.ordinal) \
                          FROM variants v WHERE v.product_id = p.product_id), ';' ORDER BY p.handle)) \
                  FROM products p";
    (types, tools::ask(shop, "product", rows).await)
}

/// The lines that imports have come to, as far as they have written it down; 0 for what is not whole.
fn journals(shop: &Shop) -> Vec<usize> {
    let entries = fs::read_dir(shop.data()).expect("the shop has a data folder");
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_one = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("import-"))
    };
    let line = |path: PathBuf| {
        let journal: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        usize::try_from(journal["line"].as_u64()?).ok()
    };
    paths.filter(is_one).map(|path| line(path).unwrap_or_default()).collect()
}

#[tokio::test]
async fn an_import_that_is_killed_ten_times_ends_as_an_undisturbed_one_and_a_repetition_writes_no_event() {
    let products = if is_long() { PRODUCTS_LONG } else { PRODUCTS };
    let summary = format!(
        "{} products created, 0 updated, 0 unchanged, {} refused.",
        good(products),
        products - good(products)
    );
    let undisturbed = {
        let shop = Shop::start().await;
        let file = catalogue(&shop, products);
        let all = import(&shop, &file, &[]).await;
        assert!(all.stdout.ends_with(&format!("{summary}\n")), "{all:?}");
        assert!(!all.stdout.contains("Goes on"), "{all:?}");
        result(&shop, good(products)).await
    };

    let mut shop = Shop::start().await;
    let file = catalogue(&shop, products);
    let lines = LINES_OF_A_PRODUCT * products + 1;
    let (mut kills, mut ended) = (0, false);
    while kills < KILLS && !ended {
        let mut client = begin(&shop, &file);
        // In its first half, so that it hardly ever ends before anybody has looked.
        let wanted = lines * (kills + 1) / (2 * KILLS);
        ended = eventually("the import goes on", PROGRESS_DEADLINE, || {
            let ended = client.try_wait().expect("the child is ours").is_some();
            let come = journals(&shop).into_iter().any(|line| line >= wanted);
            ready((ended || come).then_some(ended))
        })
        .await;
        if ended {
            break;
        }
        kills += 1;
        // The client alone, and every third time the shop with it.
        if kills % 3 == 0 {
            shop.kill();
        }
        client.kill().expect("the child is ours");
        client.wait().expect("the child is ours");
        if kills % 3 == 0 {
            shop.restart().await;
        }
    }
    say(format!("import: {kills} kills in its first half, of {lines} lines"));
    let last = import(&shop, &file, &[]).await;
    if !ended {
        assert!(last.stdout.contains("Goes on at line "), "it does not say where it goes on: {last:?}");
        assert!(last.stdout.ends_with(&format!("{summary}\n")), "it counts what was done before: {last:?}");
    }
    assert_eq!(journals(&shop), [0; 0], "nothing is left to go on with");
    assert_eq!(result(&shop, good(products)).await, undisturbed);

    let events = count(&shop, "eventlog.events").await;
    let again = import(&shop, &file, &["--from-start"]).await;
    let unchanged = format!("0 products created, 0 updated, {} unchanged", good(products));
    assert!(again.stdout.contains(&unchanged), "{again:?}");
    assert_eq!(count(&shop, "eventlog.events").await, events, "a repetition writes no event");
    shop.audit().await;
}

/// The sample catalogue, and products that a file can express only with care.
async fn stock_the_shelves(shop: &Shop) {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shop/sample/catalogue.csv");
    import(shop, &sample, &["--with-stock"]).await.ok();
    let variant = |sku: &str, options: Value, currency: &str, price: &str| {
        let price = json!({"currencyCode": currency, "minorUnits": price});
        json!({"sku": sku, "options": options, "price": price, "barcode": "'4E+12"})
    };
    let none = || json!([{"name": "Title", "value": "Default Title"}]);
    let of = |size: &str, colour: &str| json!([{"name": "Size", "value": size}, {"name": "Colour", "value": colour}]);
    for product in [
        json!({
            "handle": "hostile", "name": "=HYPERLINK(\"x\")", "description": "one\r\ntwo \"three\",\n\u{8336}",
            "brand": "@brand", "tags": ["a, b", "A", "a", "-1"], "attributes": {"care, \"of\"": "=1+1"},
            "images": [{"url": "https://a.example/1", "altText": "+1"}, {"url": "https://a.example/1"}],
            "variants": [variant("'=SKU", none(), "EUR", "7")], "status": "PRODUCT_STATUS_DRAFT",
        }),
        json!({"name": "Yen", "variants": [variant("YEN", json!([]), "JPY", "1200")]}),
        json!({"name": "Dinar", "variants": [
            variant("D1", of("S", "Red"), "KWD", "1005"), variant("D2", of("S", "Blue"), "KWD", "0"),
        ]}),
    ] {
        shop.api().post("/v1/products", &product).operator().ok().await;
    }
    let ended = json!({"name": "Ended", "variants": [variant("ENDED", json!([]), "EUR", "1")]});
    let ended = shop.api().post("/v1/products", &ended).operator().ok().await;
    let path = format!("/v1/products/{}:discontinue", text(&ended, "/product/productId"));
    shop.api().post(&path, &json!({"reason": "sold out"})).operator().ok().await;
}

async fn export(shop: &Shop, name: &str) -> (PathBuf, Vec<u8>) {
    let path = shop.scratch().path().join(name);
    let said = shop.run(&["export", path.to_str().expect("the path is text")], IMPORT_DEADLINE).await.ok();
    assert!(said.contains(" products in "), "{said}");
    let file = fs::read(&path).expect("it is written");
    (path, file)
}

#[tokio::test]
async fn a_catalogue_that_is_exported_wiped_and_imported_is_exported_as_the_same_file() {
    let first = {
        let shop = Shop::start().await;
        stock_the_shelves(&shop).await;
        let (path, file) = export(&shop, "first.csv").await;
        let standard_output = shop.run(&["export"], IMPORT_DEADLINE).await.ok();
        assert_eq!(standard_output.as_bytes(), file, "standard output gets the same");
        let events = count(&shop, "eventlog.events").await;
        let same = import(&shop, &path, &[]).await.ok();
        assert!(same.contains("0 products created, 0 updated, 133 unchanged, 0 refused."), "{same}");
        assert_eq!(count(&shop, "eventlog.events").await, events, "the shop has what it exported");
        file
    };
    let shop = Shop::start().await;
    let path = shop.scratch().path().join("wiped.csv");
    fs::write(&path, &first).expect("the scratch folder can be written");
    let created = import(&shop, &path, &[]).await.ok();
    assert!(created.contains("133 products created, 0 updated, 0 unchanged, 0 refused."), "{created}");
    let (_, second) = export(&shop, "second.csv").await;
    assert!(
        first == second,
        "{}\n---\n{}",
        String::from_utf8_lossy(&first),
        String::from_utf8_lossy(&second)
    );
    shop.audit().await;
}

#[tokio::test]
async fn an_export_waits_for_a_read_model_that_is_behind_and_has_everything_then() {
    let shop = Shop::start().await;
    shop.api().goods(100, 0).await;
    // Nobody moves the read model until there is a table of this name. The advisory lock says that it is held.
    let held = "DO $$ BEGIN \
                    PERFORM FROM eventsourcing.checkpoints WHERE subscription = 'product.read-model' FOR UPDATE; \
                    PERFORM pg_advisory_xact_lock(20, 11); \
                    WHILE NOT EXISTS (SELECT FROM pg_class WHERE relname = 'let_go') LOOP PERFORM pg_sleep(0.05); END LOOP; \
                END $$";
    let file = shop.scratch().path().join("late.csv");
    fs::write(&file, "Handle,Title,SKU,Price\nlate,Late,LATE,1.00\n").expect("it can be written");
    let written = async {
        let holds =
            "pg_locks WHERE locktype = 'advisory' AND (classid, objid, objsubid) = (20, 11, 2) AND granted";
        eventually("the read model is held", PROGRESS_DEADLINE, async || {
            (count(&shop, holds).await > 0).then_some(())
        })
        .await;
        tokio::join!(import(&shop, &file, &[]), exported_late(&shop))
    };
    let (_, (imported, exported)) = tokio::join!(tools::ask(&shop, "product", held), written);
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    let exported = String::from_utf8(exported.stdout).expect("it is text");
    assert!(exported.contains("\nlate,Late,"), "{exported}");
}

/// Exports once the product LATE is in the log, and lets the read model go once the export waits for it.
async fn exported_late(shop: &Shop) -> Output {
    eventually("the product is in the log", PROGRESS_DEADLINE, async || {
        (count(shop, "eventlog.events WHERE data::text LIKE '%LATE%'").await > 0).then_some(())
    })
    .await;
    let said = shop.scratch().path().join("said");
    let said_to = fs::File::create(&said).expect("the scratch folder can be written");
    let mut command = shop.command();
    command.args(["export", "-"]).stdout(Stdio::piped()).stderr(said_to);
    let mut client = command.spawn().expect("the shop's binary runs");
    eventually("the export waits", PROGRESS_DEADLINE, || {
        let said = fs::read_to_string(&said).unwrap_or_default();
        assert!(client.try_wait().expect("the child is ours").is_none(), "it did not wait: {said}");
        ready(said.contains("Waits").then_some(()))
    })
    .await;
    tools::tamper(shop, "product", "CREATE TABLE public.let_go ()").await;
    client.wait_with_output().expect("the child is ours")
}

/// The lines of a report in JSON, without what only a real import can know.
fn told(finished: &Finished) -> Vec<Value> {
    let lines = finished.stdout.lines().map(|line| serde_json::from_str(line).expect("a line is JSON"));
    lines
        .map(|mut line: Value| {
            let members = line.as_object_mut().expect("it is an object");
            members.retain(|name, _| !["productId", "dryRun"].contains(&name.as_str()));
            line
        })
        .collect()
}

#[tokio::test]
async fn a_dry_run_tells_what_the_import_then_does_and_writes_nothing() {
    let shop = Shop::shared().await;
    let [changed, known, fresh, broken] = ["changed", "known", "fresh", "broken"].map(unique);
    let taken = shop.api().goods(100, 0).await;
    let file = |name: &str, rows: String| {
        let path = shop.scratch().path().join(unique(name));
        fs::write(&path, format!("Handle,Title,Tags,Option1 Name,Option1 Value,SKU,Price\n{rows}"))
            .expect("the scratch folder can be written");
        path
    };
    let before = format!("{changed},Old,a,Size,S,{changed}-S,1.00\n{known},Known,a,,,{known}-S,1.00\n");
    import(shop, &file("before.csv", before), &[]).await.ok();
    let after = format!(
        "{changed},New,\"a, b\",Size,S,{changed}-S,2.00\n{changed},,,,M,{changed}-M,2.00\n\
         {known},Known,a,,,{known}-S,1.00\n{fresh},Fresh,,,,,3.00\n{broken},Broken,,,,{},1.00\n",
        taken.sku
    );
    let after = file("after.csv", after);
    let answers = async || count(shop, "eventlog.command_results WHERE scope LIKE '%ImportProducts'").await;
    let answered = answers().await;
    let text = import(shop, &after, &["--dry-run"]).await;
    let dry = import(shop, &after, &["--dry-run", "--json"]).await;
    assert_eq!(answers().await, answered, "a dry run writes nothing, not even an answer");
    for said in [
        format!("{changed}: would be updated: name, tags, 1 price, 1 new variant"),
        format!("{fresh}: would be created, with 1 variant"),
        "(SKU_TAKEN)".to_owned(),
        "1 products would be created, 1 would be updated, 1 unchanged, 1 refused.".to_owned(),
    ] {
        assert!(text.stdout.contains(&said), "{said:?} is not said: {text:?}");
    }
    let real = import(shop, &after, &["--json"]).await;
    assert_eq!((dry.code, real.code), (Some(1), Some(1)));
    assert_eq!(told(&dry), told(&real));
    assert!(answers().await > answered);
}
