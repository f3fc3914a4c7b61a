//! Finding a campaign's directory in the store, whether the campaign is still there or was deleted.

use kube::Api;
use teebench_api::campaign::BenchmarkCampaign;

use super::{FetchError, Order, Results};
use crate::store::{CampaignKey, campaigns::CampaignEntry, service::CampaignList};

/// Path of the campaign's directory in the store.
pub async fn directory(results: &Results, order: &Order) -> Result<String, FetchError> {
    let Order { namespace, campaign, uid, out: _ } = order;
    if uid.is_none()
        && let Some(uid) = present_uid(results, order).await
    {
        let key = CampaignKey { namespace: namespace.clone(), name: campaign.clone(), uid };
        return Ok(key.directory());
    }
    let path = format!("/v1/campaigns?namespace={namespace}");
    let list: Option<CampaignList> = results.get_json(&path, "list the campaigns").await?;
    let known = list.map(|list| list.campaigns).unwrap_or_default();
    choose(known, order).map(|entry| format!("{}/{}.{}", entry.namespace, entry.name, entry.uid))
}

/// The uid of the campaign that has the name now. Whoever may not read campaigns may still fetch their results.
async fn present_uid(results: &Results, order: &Order) -> Option<String> {
    let campaigns: Api<BenchmarkCampaign> = Api::namespaced(results.client(), &order.namespace);
    match campaigns.get_opt(&order.campaign).await {
        Ok(campaign) => campaign?.metadata.uid,
        Err(error) => {
            tracing::warn!(%error, "the campaign cannot be read; looking for its results by name");
            None
        }
    }
}

fn choose(known: Vec<CampaignEntry>, order: &Order) -> Result<CampaignEntry, FetchError> {
    let Order { namespace, campaign, uid, out: _ } = order;
    let names: Vec<String> = known.iter().map(|entry| entry.name.clone()).collect();
    // More digits than a directory has are as good as those that it has.
    let is_wanted = |entry: &CampaignEntry| {
        uid.as_ref().is_none_or(|uid| entry.uid.starts_with(uid.as_str()) || uid.starts_with(entry.uid.as_str()))
    };
    let mut of_name: Vec<CampaignEntry> =
        known.into_iter().filter(|entry| entry.name == *campaign && is_wanted(entry)).collect();
    match (of_name.pop(), of_name.is_empty()) {
        (Some(entry), true) => Ok(entry),
        (Some(entry), false) => {
            let uids = of_name.into_iter().map(|entry| entry.uid).chain([entry.uid]).collect();
            Err(FetchError::Ambiguous { namespace: namespace.clone(), campaign: campaign.clone(), uids })
        }
        (None, _) => {
            let hint = match names.as_slice() {
                [] => format!("the store has none of namespace {namespace}; give another by -n"),
                names => format!("the store has {}", names.join(", ")),
            };
            Err(FetchError::Unknown { namespace: namespace.clone(), campaign: campaign.clone(), hint })
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::the_only_one("b", None, "33333333")]
    #[case::by_first_digits("a", Some("11"), "11111111")]
    #[case::by_the_whole_uid("a", Some("22222222-aaaa-bbbb-cccc-121212121212"), "22222222")]
    fn results_of_a_deleted_campaign_are_found(#[case] name: &str, #[case] uid: Option<&str>, #[case] found: &str) {
        assert_eq!(choose(known(), &order(name, uid)).unwrap().uid, found);
    }

    #[test]
    fn a_name_of_several_campaigns_asks_for_the_uid() {
        let error = choose(known(), &order("a", None)).unwrap_err();

        assert!(error.is_bad_input());
        assert!(error.to_string().contains("--uid: 11111111, 22222222"), "{error}");
    }

    #[rstest]
    #[case(known(), "the store has a, a, b")]
    #[case(Vec::new(), "give another by -n")]
    fn an_unknown_name_is_told_with_what_there_is(#[case] known: Vec<CampaignEntry>, #[case] hint: &str) {
        let error = choose(known, &order("c", None)).unwrap_err();

        assert!(error.is_bad_input());
        assert!(error.to_string().contains(hint), "{error}");
    }

    fn known() -> Vec<CampaignEntry> {
        [("a", "11111111"), ("a", "22222222"), ("b", "33333333")]
            .map(|(name, uid)| CampaignEntry { namespace: "ns".into(), name: name.into(), uid: uid.into() })
            .into()
    }

    fn order(campaign: &str, uid: Option<&str>) -> Order {
        Order { namespace: "ns".into(), campaign: campaign.into(), uid: uid.map(str::to_owned), out: "out".into() }
    }
}
