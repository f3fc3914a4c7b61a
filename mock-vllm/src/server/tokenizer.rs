//! A tokeniser without a vocabulary: every four bytes are a token, whose number is those bytes.
//!
//! Equal first bytes give equal first tokens, which is all that prefix caching asks of a tokeniser; four bytes a token
//! is what English text takes in common vocabularies. Token ids from elsewhere are accepted as they are.

use crate::engine::TokenId;

/// Bytes in a token.
const TOKEN_BYTES: usize = 4;

/// The tokens of a text; the last one is filled up with zero bytes.
#[must_use]
pub fn encode(text: &str) -> Vec<TokenId> {
    let (whole, rest) = text.as_bytes().as_chunks::<TOKEN_BYTES>();
    let mut tokens: Vec<TokenId> = whole.iter().map(|bytes| TokenId(u32::from_le_bytes(*bytes))).collect();
    if !rest.is_empty() {
        let mut bytes = [0; TOKEN_BYTES];
        bytes[..rest.len()].copy_from_slice(rest);
        tokens.push(TokenId(u32::from_le_bytes(bytes)));
    }
    tokens
}

/// The text of tokens; bytes that are no UTF-8 become replacement characters, zero bytes are left out.
#[must_use]
pub fn decode(tokens: &[TokenId]) -> String {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.0.to_le_bytes()).filter(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{SamplingKey, output_token};
    use proptest::prelude::*;

    #[test]
    fn an_answer_is_tokenised_into_what_was_generated() {
        let key = SamplingKey::new(0, None, &[], 0);
        let answer: Vec<TokenId> = (0..50).map(|position| output_token(key, position)).collect();
        assert_eq!(encode(&decode(&answer)), answer);
    }

    proptest! {
        #[test]
        fn text_survives(text in "[^\0]{0,60}") {
            prop_assert_eq!(decode(&encode(&text)), text);
        }

        #[test]
        fn equal_first_bytes_are_equal_first_tokens(common in ".{0,40}", one in ".{0,9}", other in ".{0,9}") {
            let whole = common.len() / TOKEN_BYTES;
            let (one, other) = (encode(&format!("{common}{one}")), encode(&format!("{common}{other}")));
            prop_assert_eq!(&one[..whole], &other[..whole]);
        }
    }
}
