//! The Lease of one machine: whose it is.

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::ResourceExt;

use super::queue::Holder;
use crate::{
    operator::labels::{COMPONENT, MACHINE, MANAGED_BY, MANAGER},
    store::sha256_hex,
};

/// The label's value that tells these Leases from that of the operator itself.
const MACHINE_COMPONENT: &str = "machine";
/// Longest name of an object.
const MOST_NAME: usize = 253;

/// Selects the Leases of machines.
pub fn selector() -> String {
    format!("{MANAGED_BY}={MANAGER},{COMPONENT}={MACHINE_COMPONENT}")
}

/// Name of a machine's Lease; that of a pool is no name of an object, and becomes its digest.
pub fn name(machine: &str) -> String {
    let name = format!("machine-{machine}");
    let is_name =
        machine.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte));
    if is_name && name.len() <= MOST_NAME { name } else { format!("machine-{}", sha256_hex(machine.as_bytes())) }
}

/// A machine's Lease, held by this campaign until it is deleted: whoever leads next goes on with it.
pub fn of(machine: &str, holder: &Holder) -> Lease {
    let labels = [(MANAGED_BY, MANAGER), (COMPONENT, MACHINE_COMPONENT)];
    Lease {
        metadata: ObjectMeta {
            name: Some(name(machine)),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            annotations: Some([(MACHINE.to_owned(), machine.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(format!("{}/{}/{}", holder.namespace, holder.name, holder.uid)),
            acquire_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        }),
    }
}

/// The machine of a Lease and who holds it; nothing when a person has emptied it.
pub fn read(lease: &Lease) -> Option<(String, Holder)> {
    let machine = lease.annotations().get(MACHINE)?.clone();
    let mut parts = lease.spec.as_ref()?.holder_identity.as_deref()?.splitn(3, '/').map(str::to_owned);
    Some((machine, Holder { namespace: parts.next()?, name: parts.next()?, uid: parts.next()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_says_the_machine_and_its_holder() {
        let holder = Holder { namespace: "bench".into(), name: "a".into(), uid: "1-2".into() };

        assert_eq!(read(&of("node.example", &holder)), Some(("node.example".into(), holder.clone())));
        assert!(name(&"n".repeat(253)).len() <= MOST_NAME);
        assert!(!name("pool a.b/c=D").contains([' ', '/', '=', 'D']));
    }
}
