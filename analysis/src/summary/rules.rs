//! What a reader chooses of how results are summed up.

use std::str::FromStr;

use rust_decimal::Decimal;

use crate::stats::Margin;

/// Choices of a reader; by default those of every report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// Ratios within it count as equal.
    pub margin: Margin,
    /// Price of energy, which is then stated apart from the machines' price.
    pub electricity: Option<Electricity>,
}

/// A price of energy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Electricity {
    /// For a kilowatt-hour.
    pub per_kwh: Decimal,
    /// Currency by its ISO 4217 code.
    pub currency: String,
}

/// Reads `0.21 EUR` or `0.21EUR`.
impl FromStr for Electricity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted =
            || format!("{text:?} is no price of a kilowatt-hour; write amount and currency, for instance 0.21EUR");
        let split = text.find(|sign: char| sign.is_ascii_alphabetic()).ok_or_else(wanted)?;
        let (amount, currency) = text.split_at(split);
        let per_kwh: Decimal = amount.trim().parse().map_err(|_| wanted())?;
        let three_capitals = currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase());
        if per_kwh.is_sign_negative() || !three_capitals {
            return Err(wanted());
        }
        Ok(Self { per_kwh, currency: currency.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0.21 EUR")]
    #[case("0.21EUR")]
    fn a_price_of_energy_has_amount_and_currency(#[case] text: &str) {
        let price: Electricity = text.parse().unwrap();
        assert_eq!((price.per_kwh, price.currency.as_str()), ("0.21".parse().unwrap(), "EUR"));
    }

    #[rstest]
    #[case("0.21")]
    #[case("EUR")]
    #[case("-1EUR")]
    #[case("0,21EUR")]
    #[case("0.21 euro")]
    fn another_text_is_refused_with_an_example(#[case] text: &str) {
        assert!(text.parse::<Electricity>().unwrap_err().contains("0.21EUR"));
    }
}
