//! Terms: what a product can be filtered by, as numbers. A filter and the count of a facet look for the same number in
//! the same column, so that they cannot disagree. The number is made of kind and value alone; the table `search_terms`
//! knows the values of those that products have.

use sha2::{Digest, Sha256};

use super::super::list::CATEGORY_SEPARATOR;
use crate::domain::Currency;

/// What a term is about. The discriminants are part of stored numbers and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TermKind {
    Brand = 0,
    /// A category with its subtree.
    Category = 1,
    Supplier = 2,
    /// An option of a variant with its value.
    Option = 3,
    /// A range of prices that some variant's price is in.
    Band = 4,
    /// What every product has.
    Any = 5,
}

impl TermKind {
    pub(super) const ALL: [Self; 6] =
        [Self::Brand, Self::Category, Self::Supplier, Self::Option, Self::Band, Self::Any];
}

/// The lowest bits of a number are its kind.
const KIND_BITS: u32 = 3;
/// Stands between the name of an option and its value, which are both lines without control characters.
const OPTION_SEPARATOR: char = '\u{1f}';

/// A term as it is stored and searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TermId(pub i64);

impl TermId {
    /// `None` for a number that was not made here.
    pub fn kind(self) -> Option<TermKind> {
        let kind = self.0 & ((1 << KIND_BITS) - 1);
        TermKind::ALL.into_iter().find(|known| *known as i64 == kind)
    }
}

/// A term with its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    pub kind: TermKind,
    pub value: String,
}

impl Term {
    pub fn any() -> Self {
        Self { kind: TermKind::Any, value: String::new() }
    }

    pub fn brand(brand: &str) -> Self {
        Self { kind: TermKind::Brand, value: brand.to_owned() }
    }

    pub fn supplier(supplier: &str) -> Self {
        Self { kind: TermKind::Supplier, value: supplier.to_owned() }
    }

    /// `path` is joined by ` > `.
    pub fn category(path: &str) -> Self {
        Self { kind: TermKind::Category, value: path.to_owned() }
    }

    /// A category and all that it lies in.
    pub fn categories(path: &[String]) -> impl Iterator<Item = Self> + '_ {
        (1..=path.len()).map(|depth| Self::category(&path[..depth].join(CATEGORY_SEPARATOR)))
    }

    pub fn option(name: &str, value: &str) -> Self {
        Self { kind: TermKind::Option, value: format!("{name}{OPTION_SEPARATOR}{value}") }
    }

    pub fn band(currency: Currency, band: Band) -> Self {
        Self { kind: TermKind::Band, value: format!("{} {}", currency.code(), band.lowest) }
    }

    /// Name and value of an option's term.
    pub fn as_option(&self) -> Option<(&str, &str)> {
        self.value.split_once(OPTION_SEPARATOR).filter(|_| self.kind == TermKind::Option)
    }

    /// Currency and range of a band's term.
    pub fn as_band(&self) -> Option<(&str, Band)> {
        let (currency, lowest) = self.value.split_once(' ').filter(|_| self.kind == TermKind::Band)?;
        Some((currency, Band::of(lowest.parse().ok()?)))
    }

    /// 60 bits of a hash that nobody finds collisions of on purpose, and the kind.
    pub fn id(&self) -> TermId {
        let digest = Sha256::new().chain_update([self.kind as u8]).chain_update(&self.value).finalize();
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest[..8]);
        let hash = i64::from_be_bytes(bytes) & i64::MAX;
        TermId((hash >> KIND_BITS << KIND_BITS) | self.kind as i64)
    }
}

/// A range of prices in minor units, both bounds included: 0 to 99, 100 to 199, 200 to 499, 500 to 999, 1,000 to 1,999
/// and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Band {
    pub lowest: i64,
    /// None for the last one.
    pub highest: Option<i64>,
}

impl Band {
    /// Where bands begin, in order.
    fn borders() -> impl Iterator<Item = i64> {
        let steps = (2..=10).flat_map(|power| [1, 2, 5].map(|step| step * 10_i64.pow(power)));
        std::iter::once(0).chain(steps)
    }

    /// The one that a price lies in.
    pub fn of(price: i64) -> Self {
        let lowest = Self::borders().take_while(|border| *border <= price).last().unwrap_or(0);
        let next = Self::borders().find(|border| *border > lowest);
        Self { lowest, highest: next.map(|next| next - 1) }
    }

    /// All that prices between two bounds can lie in. A missing bound is none.
    pub fn overlapping(lowest: Option<i64>, highest: Option<i64>) -> Vec<Self> {
        let (first, last) =
            (Self::of(lowest.unwrap_or(0)), highest.map_or(i64::MAX, |price| Self::of(price).lowest));
        Self::borders().filter(|border| (first.lowest..=last).contains(border)).map(Self::of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_knows_its_kind_and_tells_values_apart() {
        let terms = [
            Term::any(),
            Term::brand("Brun"),
            Term::supplier("Brun"),
            Term::category("Brun"),
            Term::option("Brun", ""),
            Term::option("", "Brun"),
        ];
        for (at, term) in terms.iter().enumerate() {
            assert_eq!(term.id().kind(), Some(term.kind));
            assert!(term.id().0 >= 0);
            assert!(terms[at + 1..].iter().all(|other| other.id() != term.id()), "{term:?}");
        }
        assert_eq!(TermId(7).kind(), None);
        // Stored numbers must not change with the program.
        assert_eq!(Term::brand("Brun").id(), TermId(1_201_638_888_095_861_960));
    }

    #[test]
    fn a_category_has_the_terms_of_all_that_it_lies_in() {
        let path = ["Home", "Kitchen", "Knives"].map(str::to_owned);
        let values: Vec<String> = Term::categories(&path).map(|term| term.value).collect();
        assert_eq!(values, ["Home", "Home > Kitchen", "Home > Kitchen > Knives"]);
    }

    #[test]
    fn options_and_bands_can_be_read_back() {
        assert_eq!(Term::option("Size", "M").as_option(), Some(("Size", "M")));
        let euro = Currency::from_code("EUR").unwrap();
        for price in [0, 99, 100, 8_400, 100_000_000_000] {
            let band = Band::of(price);
            assert_eq!(Term::band(euro, band).as_band(), Some(("EUR", band)));
            assert!(band.lowest <= price && band.highest.is_none_or(|highest| price <= highest));
        }
        assert_eq!(Term::brand("a b").as_band(), None);
    }

    #[test]
    fn bands_follow_each_other_without_a_gap() {
        let bands = Band::overlapping(None, None);
        assert_eq!(bands[0].lowest, 0);
        assert!(bands.windows(2).all(|two| two[0].highest == Some(two[1].lowest - 1)));
        assert_eq!(bands.last().unwrap().highest, None);
        let some = Band::overlapping(Some(150), Some(500));
        assert_eq!(some.iter().map(|band| band.lowest).collect::<Vec<_>>(), [100, 200, 500]);
        assert_eq!(Band::overlapping(Some(100), Some(199)), [Band::of(100)]);
    }
}
