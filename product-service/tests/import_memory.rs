//! The memory of an import does not grow with its file. Alone in its own process, since it measures that process.

use std::io::{self, Read};

use product_service::import::{ImportOptions, ProductRows};

const PRODUCTS: u64 = 100_000;
const BODY_BYTES: usize = 600;
/// Two sets of 10^5 keys of 24 bytes, doubled while they grow, and one product. The file has more than 60 MB.
const MAX_GROWTH_BYTES: u64 = 24 * 1024 * 1024;

/// A file that is made while it is read.
struct Catalogue {
    next: u64,
    chunk: Vec<u8>,
    at: usize,
    body: String,
}

impl Catalogue {
    fn new() -> Self {
        let chunk =
            b"Handle,Title,Body (HTML),Option1 Name,Option1 Value,Variant SKU,Variant Price\r\n".to_vec();
        Catalogue { next: 0, chunk, at: 0, body: "x".repeat(BODY_BYTES) }
    }
}

impl Read for Catalogue {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() && self.next < PRODUCTS {
            let (n, body) = (self.next, &self.body);
            let rows =
                format!("p-{n},Product {n},\"<p>\r\n{body}</p>\",Size,S,,9.99\r\np-{n},,,,M,,10.99\r\n");
            (self.chunk, self.at, self.next) = (rows.into_bytes(), 0, n + 1);
        }
        let read = (&self.chunk[self.at..]).read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

/// Resident memory of this process, where the system tells it.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * 4_096
}

#[test]
fn a_file_of_200_000_rows_is_read_in_the_memory_of_one_product() {
    let mut rows = ProductRows::new(Catalogue::new(), ImportOptions::default()).unwrap();
    let mut start = 0;
    let mut highest = 0;
    let mut products = 0;
    for product in rows.by_ref() {
        let product = product.unwrap();
        assert_eq!(product.variants.len(), 2);
        products += 1;
        if products == 100 {
            start = resident_bytes();
        }
        if products % 1_000 == 0 {
            highest = highest.max(resident_bytes());
        }
    }
    assert_eq!((products, rows.summary().rows), (PRODUCTS, 2 * PRODUCTS));
    assert!(rows.bytes_read() > PRODUCTS * BODY_BYTES as u64);
    let growth = highest.saturating_sub(start);
    println!("grew by {growth} bytes over a file of {} bytes", rows.bytes_read());
    assert!(growth < MAX_GROWTH_BYTES, "grew by {growth} bytes");
}
