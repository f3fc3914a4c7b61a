//! What the verifier of a GPU's report promises: one that was made for this nonce, by this firmware, under this root,
//! passes; a change anywhere does not; and no bytes make it panic.

#[path = "support/device.rs"]
mod device;

use std::sync::LazyLock;

use device::{Device, FIRMWARE_ID, Link, NOW, fields, unsigned};
use proptest::prelude::*;
use rstest::rstest;
use teebench_probe::attestation::{
    AttestationError, Attested, Chain, ChainError, Expected, Report, ReportError, Root, Verifier, verify,
};

const NONCE: [u8; 32] = [7; 32];
static DEVICE: LazyLock<Device> = LazyLock::new(Device::new);

fn expected() -> Expected<'static> {
    Expected { nonce: NONCE, driver_version: "580.159.04", vbios_version: "96.00.9f.00.01", unix_seconds: NOW }
}

fn check(report: &[u8], chain: &[u8]) -> Result<Attested, AttestationError> {
    verify(report, chain, &expected(), Root::Test(DEVICE.root_sha256))
}

#[test]
fn a_report_for_this_nonce_under_this_root_passes_and_is_marked_as_a_test() {
    let attested = check(&DEVICE.report(NONCE), &DEVICE.chain()).unwrap();
    let (driver_version, vbios_version) = ("580.159.04".to_owned(), "96.00.9F.00.01".to_owned());
    let firmware_id = hex::encode(FIRMWARE_ID);
    assert_eq!(attested, Attested { test: true, firmware_id, driver_version, vbios_version, measurements: 64 });
}

#[test]
fn zeros_after_the_chain_are_the_buffers_and_do_not_matter() {
    let mut chain = DEVICE.chain();
    chain.resize(5120, 0);
    assert!(check(&DEVICE.report(NONCE), &chain).is_ok());
}

#[test]
fn a_test_root_is_never_the_vendors() {
    let error = verify(&DEVICE.report(NONCE), &DEVICE.chain(), &expected(), Root::Vendor).unwrap_err();
    assert!(matches!(error, AttestationError::Chain(ChainError::Root(_))), "{error}");
}

#[test]
fn another_nonce_driver_or_vbios_is_refused_by_name() {
    let (report, chain, root) = (DEVICE.report(NONCE), DEVICE.chain(), Root::Test(DEVICE.root_sha256));
    let error = verify(&report, &chain, &Expected { nonce: [8; 32], ..expected() }, root).unwrap_err();
    assert_eq!(error, AttestationError::Nonce);
    let error = verify(&report, &chain, &Expected { driver_version: "570.1", ..expected() }, root).unwrap_err();
    assert!(error.to_string().contains("driver version is \"580.159.04\", and nvml says \"570.1\""), "{error}");
    let error = verify(&report, &chain, &Expected { vbios_version: "96.00.9F.00.02", ..expected() }, root).unwrap_err();
    assert!(error.to_string().contains("vbios version is \"96.00.9F.00.01\""), "{error}");
}

#[test]
fn another_device_of_the_same_make_did_not_sign_it() {
    let other = Device::new();
    assert_eq!(check(&other.report(NONCE), &DEVICE.chain()), Err(AttestationError::Signature));
    let error = check(&other.report(NONCE), &other.chain()).unwrap_err();
    assert!(matches!(error, AttestationError::Chain(ChainError::Root(_))), "{error}");
}

#[test]
fn other_firmware_than_the_leafs_is_refused() {
    let mut fields = fields();
    fields[3].1[0] ^= 1;
    let error = check(&DEVICE.sign(unsigned(NONCE, &fields)), &DEVICE.chain()).unwrap_err();
    assert!(matches!(error, AttestationError::FirmwareId { report: _, leaf: _ }), "{error}");
}

#[rstest]
#[case::driver(0, "driver version")]
#[case::vbios(1, "vbios version")]
#[case::firmware(3, "firmware id")]
fn a_signed_report_without_a_field_is_refused_by_name(#[case] field: usize, #[case] name: &'static str) {
    let mut fields = fields();
    fields.remove(field);
    let error = check(&DEVICE.sign(unsigned(NONCE, &fields)), &DEVICE.chain()).unwrap_err();
    assert_eq!(error, AttestationError::Report(ReportError::Missing(name)));
}

#[test]
fn a_field_that_stands_twice_is_refused() {
    let mut fields = fields();
    fields.push((3, b"570.1".to_vec()));
    let error = Report::parse(&DEVICE.sign(unsigned(NONCE, &fields))).unwrap_err();
    assert_eq!(error, ReportError::Twice { part: "field", number: 3 });
}

#[test]
fn every_flipped_bit_of_a_report_is_found() {
    let (whole, chain) = (DEVICE.report(NONCE), Chain::parse(&DEVICE.chain()).unwrap());
    // The signature covers all that is before it, so the layout alone need not refuse a flip there. Each bit of the
    // first and last bytes of every part, and one in eight of the rest, keep the test short.
    for bit in (0..whole.len() * 8).filter(|bit| bit % 61 == 0 || *bit < 400) {
        let mut report = whole.clone();
        report[bit / 8] ^= 1 << (bit % 8);
        let passes =
            Report::parse(&report).is_ok_and(|parsed| chain.leaf_signed(parsed.signed(), parsed.signature()).unwrap());
        assert!(!passes, "bit {bit}");
    }
}

#[test]
fn a_report_cut_anywhere_or_with_bytes_added_is_no_report() {
    let whole = DEVICE.report(NONCE);
    for length in 0..whole.len() {
        assert!(Report::parse(&whole[..length]).is_err(), "{length} bytes");
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert_eq!(Report::parse(&longer), Err(ReportError::Trailing(1)));
    assert_eq!(Report::parse(&[0; 8193]), Err(ReportError::TooLong(8193)));
}

#[test]
fn certificates_in_another_order_left_out_or_doubled_vouch_for_nothing() {
    let pem = &DEVICE.pem;
    let pick = |order: &[usize]| order.iter().map(|index| pem[*index].as_str()).collect::<String>().into_bytes();
    for order in [
        vec![4, 3, 2, 1, 0],
        vec![1, 0, 2, 3, 4],
        vec![0, 2, 1, 3, 4],
        vec![0, 2, 3, 4],
        vec![0, 1, 2, 3],
        vec![0, 0, 1, 2, 3, 4],
        vec![1, 2, 3, 4],
    ] {
        assert!(check(&DEVICE.report(NONCE), &pick(&order)).is_err(), "{order:?}");
    }
    assert_eq!(Chain::parse(&pick(&[0])).err(), Some(ChainError::NotPem));
    assert_eq!(Chain::parse(&pick(&[0; 9])).err(), Some(ChainError::TooLong));
}

#[test]
fn a_chain_that_held_before_is_held_to_the_time_of_every_report() {
    let device = Device::with(|index, link| {
        if index == 0 {
            link.years = (2026, 2027);
        }
    });
    let verifier = Verifier::new(Root::Test(device.root_sha256));
    let verify = |unix_seconds| {
        verifier.verify(&device.report(NONCE), &device.chain(), &Expected { unix_seconds, ..expected() })
    };
    assert!(verify(NOW).is_ok());
    assert_eq!(verify(NOW + 366 * 86_400), Err(AttestationError::Chain(ChainError::Expired(0))));
    assert!(verify(NOW).is_ok());
}

#[rstest]
#[case::expired(2, |link: &mut Link| link.years = (2020, 2024), ChainError::Expired(2))]
#[case::not_yet_valid(0, |link: &mut Link| link.years = (2050, 4000), ChainError::Expired(0))]
#[case::not_an_authority(1, |link: &mut Link| link.authority = false, ChainError::NotAnIssuer(1))]
fn a_link_that_may_not_stand_there_is_named(
    #[case] index: usize,
    #[case] change: fn(&mut Link),
    #[case] error: ChainError,
) {
    let device = Device::with(|at, link| {
        if at == index {
            change(link);
        }
    });
    let chain = Chain::parse(&device.chain()).unwrap();
    let held = chain.issued_under(&[device.root_sha256]).and_then(|()| chain.valid_at(NOW));
    assert_eq!(held, Err(error));
}

#[test]
fn every_flipped_byte_of_a_chain_is_found() {
    let whole = DEVICE.chain();
    let report = DEVICE.report(NONCE);
    for at in (0..whole.len()).step_by(37) {
        let mut chain = whole.clone();
        // Another character of base64, so that most reach the certificates' own bytes.
        chain[at] = if chain[at] == b'A' { b'B' } else { b'A' };
        assert!(check(&report, &chain).is_err(), "byte {at}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Report::parse(&bytes);
        let _ = Chain::parse(&bytes);
    }

    #[test]
    fn no_change_of_a_report_makes_its_parser_panic(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..8)) {
        let mut report = DEVICE.report(NONCE);
        let length = report.len();
        for (at, byte) in changes {
            report[usize::from(at) % length] = byte;
        }
        if let Ok(parsed) = Report::parse(&report) {
            let _ = (parsed.driver_version(), parsed.vbios_version(), parsed.firmware_id());
        }
    }
}
