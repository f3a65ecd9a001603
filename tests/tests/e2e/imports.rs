//! `shop import` of files of which not everything can be imported: what is refused is named, what is not is imported,
//! and what ends an import says where to go on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e_tests::trade::{PRICE, unique};
use e2e_tests::{Finished, Shop, finish};
use serde_json::Value;

/// A file of a few products, on a busy machine.
const IMPORT_DEADLINE: Duration = Duration::from_secs(120);
/// The exit code of an import that went through the file and refused something.
const SOMETHING_REFUSED: i32 = 1;
/// The exit code of a command that could not be carried out.
const ENDED_EARLY: i32 = 2;

const HEADER: &str = "Handle,Title,Option1 Name,Option1 Value,SKU,Price,Currency\n";

async fn import(shop: &Shop, file: &Path, arguments: &[&str]) -> Finished {
    let file = file.to_str().expect("the path is text");
    shop.run(&[&["import", file], arguments].concat(), IMPORT_DEADLINE).await
}

fn write(shop: &Shop, rows: &str) -> PathBuf {
    let path = shop.scratch().path().join(format!("{}.csv", unique("file")));
    fs::write(&path, format!("{HEADER}{rows}")).expect("the scratch folder can be written");
    path
}

fn assert_says(finished: &Finished, code: i32, said: &[&str]) {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    for said in said {
        assert!(finished.output().contains(said), "{said:?} is not said: {finished:?}");
    }
}

#[tokio::test]
async fn a_product_whose_sku_belongs_to_another_is_named_with_its_row_and_the_others_are_imported() {
    let shop = Shop::shared().await;
    let taken = shop.api().goods(PRICE, 0).await;
    let [first, refused, broken, last] = ["first", "refused", "broken", "last"].map(unique);
    let file = write(
        shop,
        &format!(
            "{first},First,,,{first}-A,1.00,EUR\n\
             {refused},Refused,Colour,Red,{refused}-A,1.00,EUR\n\
             {refused},,Colour,Blue,{},1.00,EUR\n\
             {broken},Broken,,,{broken}-A,much,EUR\n\
             {last},Last,,,{last}-A,1.00,EUR\n",
            taken.sku
        ),
    );
    let refusal =
        format!("{refused:?} (lines 3 to 4) is refused by the shop\n  line 4: the SKU {}", taken.sku);
    let reasons = ["(SKU_TAKEN)", "give the variant a SKU of its own", "line 5, column \"Price\""];
    let said = |summary| [&[refusal.as_str(), summary], &reasons[..]].concat();

    let dry = import(shop, &file, &["--dry-run"]).await;
    let summary = "2 products would be created, 0 would be updated, 0 unchanged, 2 refused.";
    assert_says(&dry, SOMETHING_REFUSED, &said(summary));
    let once = import(shop, &file, &[]).await;
    assert_says(&once, SOMETHING_REFUSED, &said("2 products created, 0 updated, 0 unchanged, 2 refused."));
    let again = import(shop, &file, &[]).await;
    assert_says(&again, SOMETHING_REFUSED, &said("0 products created, 0 updated, 2 unchanged, 2 refused."));

    let json = import(shop, &file, &["--json"]).await;
    assert_eq!(json.code, Some(SOMETHING_REFUSED), "{json:?}");
    let lines: Vec<Value> =
        json.stdout.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let [by_shop, by_file, summary] = lines.as_slice() else { panic!("not three lines: {json:?}") };
    assert_eq!(by_shop["handle"], refused, "{by_shop}");
    for (refusal, line, rule) in [(by_shop, 4, "SKU_TAKEN"), (by_file, 5, "price_format")] {
        assert_eq!(refusal["outcome"], "REFUSED", "{refusal}");
        assert_eq!(refusal["refused"]["errors"][0]["line"], line, "{refusal}");
        assert_eq!(refusal["refused"]["errors"][0]["rule"], rule, "{refusal}");
    }
    assert_eq!((&summary["refused"], &summary["complete"]), (&2.into(), &true.into()), "{summary}");
}

#[tokio::test]
async fn a_product_in_another_currency_than_it_has_is_refused_and_the_others_are_imported() {
    let shop = Shop::shared().await;
    let [lamp, mug] = ["lamp", "mug"].map(unique);
    let row = |handle: &str, currency| format!("{handle},Goods,,,{handle}-A,1.00,{currency}\n");
    let file = write(shop, &row(&lamp, "EUR"));
    assert_says(&import(shop, &file, &[]).await, 0, &["1 products created", "0 refused"]);
    let file = write(shop, &(row(&lamp, "USD") + &row(&mug, "USD")));
    let refused = import(shop, &file, &[]).await;
    assert_says(&refused, SOMETHING_REFUSED, &[&lamp, "line 2", "(CURRENCY_DIFFERS)", "1 products created"]);
}

#[tokio::test]
async fn an_import_that_the_shop_does_not_let_in_ends_with_the_line_to_go_on_from() {
    let shop = Shop::shared().await;
    let file = write(shop, &format!("{0},Goods,,,{0}-A,1.00,EUR\n", unique("lamp")));
    let stranger = shop.scratch().data(&unique("stranger"));
    fs::create_dir(&stranger).expect("the scratch folder can be written");
    fs::copy(shop.data().join("addresses.json"), stranger.join("addresses.json")).expect("the shop serves");
    let token = stranger.join("operator.token");
    fs::write(&token, "0".repeat(shop.secret("operator.token").len())).expect("the folder can be written");
    let mut command = shop.command();
    command.arg("import").arg(&file).env("STORELINE_DATA", &stranger);
    let ended = finish(command, IMPORT_DEADLINE).await;
    assert_says(&ended, ENDED_EARLY, &["line 2", "Import the file again", "0 products created"]);
}
