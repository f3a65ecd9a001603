//! The countries of ISO 3166-1, by their alpha-2 codes.

/// All officially assigned codes, each of two letters.
const CODES: &str = "ADAEAFAGAIALAMAOAQARASATAUAWAXAZBABBBDBEBFBGBHBIBJBLBMBNBOBQBRBSBTBVBWBYBZCACCCDCFCGCHCICKCLCMCN\
COCRCUCVCWCXCYCZDEDJDKDMDODZECEEEGEHERESETFIFJFKFMFOFRGAGBGDGEGFGGGHGIGLGMGNGPGQGRGSGTGUGWGYHKHMHNHRHTHUIDIEILIM\
INIOIQIRISITJEJMJOJPKEKGKHKIKMKNKPKRKWKYKZLALBLCLILKLRLSLTLULVLYMAMCMDMEMFMGMHMKMLMMMNMOMPMQMRMSMTMUMVMWMXMYMZNA\
NCNENFNGNINLNONPNRNUNZOMPAPEPFPGPHPKPLPMPNPRPSPTPWPYQARERORSRURWSASBSCSDSESGSHSISJSKSLSMSNSOSRSSSTSVSXSYSZTCTDTF\
TGTHTJTKTLTMTNTOTRTTTVTWTZUAUGUMUSUYUZVAVCVEVGVIVNVUWFWSYEYTZAZMZW";

/// Whether a country has this code. Lower case is refused: codes are compared by others too.
pub fn is_code(text: &str) -> bool {
    text.len() == 2 && CODES.as_bytes().chunks_exact(2).any(|code| code == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_249_countries() {
        let mut codes: Vec<_> = CODES.as_bytes().chunks_exact(2).collect();
        assert_eq!((codes.len(), CODES.len()), (249, 498));
        assert!(codes.is_sorted());
        codes.dedup();
        assert_eq!(codes.len(), 249);
    }

    #[test]
    fn codes_are_upper_case_and_assigned() {
        assert!(is_code("DE") && is_code("ZW"));
        for wrong in ["", "de", "ZZ", "EU", "DEU", "ÄA"] {
            assert!(!is_code(wrong), "{wrong}");
        }
    }
}
