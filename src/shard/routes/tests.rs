//! A cached route against a freshly built one, through every kind of change.

use super::*;
use crate::shard::id::ConnectionId;
use crate::subject::SubjectFilter;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Add { filter: SubjectFilter, group: Option<u8> },
    Remove { nth: usize },
    Elsewhere { filter: SubjectFilter, group: Option<u8>, core: u16, n_members: u32 },
    Look { subject: String },
}

fn filter() -> impl Strategy<Value = SubjectFilter> {
    (proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("*")], 1..4), any::<bool>()).prop_map(
        |(mut tokens, rest)| {
            if rest {
                tokens.push(">");
            }
            SubjectFilter::parse(tokens.join(".").as_bytes()).unwrap()
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let group = || proptest::option::of(0u8..2);
    prop_oneof![
        (filter(), group()).prop_map(|(filter, group)| Step::Add { filter, group }),
        (0usize..8).prop_map(|nth| Step::Remove { nth }),
        (filter(), group(), 1u16..4, 0u32..3).prop_map(|(filter, group, core, n_members)| Step::Elsewhere {
            filter,
            group,
            core,
            n_members
        }),
        proptest::collection::vec(prop_oneof![Just("a"), Just("b")], 1..4)
            .prop_map(|tokens| Step::Look { subject: tokens.join(".") }),
    ]
}

fn group_name(group: u8) -> Rc<[u8]> {
    Rc::from([b'g', group].as_slice())
}

proptest! {
    #[test]
    fn a_cached_route_is_the_one_that_would_be_built(steps in proptest::collection::vec(step(), 1..60)) {
        let keys = Keys::from_seed([1, 2, 3, 4, 5, 6]);
        let (mut table, mut interest) = (Table::new(&keys), Interest::new(&keys));
        let mut routes = Routes::new(CoreId(0), &keys, 8_000);
        let mut subscriptions = Vec::new();
        for (step_idx, step) in steps.into_iter().enumerate() {
            match step {
                Step::Add { filter, group } => {
                    let target = Target {
                        connection: ConnectionId { slot: step_idx as u32, generation: 0 },
                        subscription: 0,
                    };
                    let group = group.map(group_name);
                    let in_group = |name| Group { name, role: Role::Nats };
                    let (place, change) = table.add(&filter, group.as_ref().map(in_group), target);
                    if let Some(change) = change {
                        interest.apply(CoreId(0), &change);
                        routes.changed(change.key());
                    }
                    routes.filter_changed(filter.as_bytes(), filter.has_wildcard());
                    prop_assert_eq!(table.text(place), filter.as_bytes());
                    subscriptions.push((filter, place, group, target));
                }
                Step::Remove { nth } if nth < subscriptions.len() => {
                    let (filter, place, group, target) = subscriptions.swap_remove(nth);
                    let group = group.as_ref().map(|name| Group { name, role: Role::Nats });
                    let place = Place { filter: place, group, is_offline: false };
                    if let Some(change) = table.give_up(place) {
                        interest.apply(CoreId(0), &change);
                        routes.changed(change.key());
                    }
                    table.remove(place, target);
                    routes.filter_changed(filter.as_bytes(), filter.has_wildcard());
                }
                Step::Remove { .. } => {}
                Step::Elsewhere { filter, group, core, n_members } => {
                    let key = if filter.has_wildcard() {
                        FilterKey::Wildcard(filter)
                    } else {
                        FilterKey::Exact(keys.subject_hash(filter.as_bytes()))
                    };
                    let change = match group {
                        Some(group) => {
                            let counts = MemberCounts { n_online: n_members, n_offline: 0 };
                            Change::Group { key, group: group_name(group).as_ref().into(), role: Role::Nats, counts }
                        }
                        None => Change::Plain { key, is_present: n_members > 0 },
                    };
                    interest.apply(CoreId(core), &change);
                    routes.changed(change.key());
                }
                Step::Look { subject } => {
                    let mut n_members = 0;
                    let hash = keys.subject_hash(subject.as_bytes());
                    table.for_each_match(subject.as_bytes(), hash, |_, members| {
                        n_members += members.plain().count();
                        n_members += members.groups().map(|(_, lists)| lists.online.list.len()).sum::<usize>();
                    });
                    let is_match = |it: &&(SubjectFilter, _, _, _)| it.0.matches(subject.as_bytes());
                    prop_assert_eq!(n_members, subscriptions.iter().filter(is_match).count());
                    let subject = subject.as_bytes();
                    let built = routes.build(subject, keys.subject_hash(subject), &table, &interest);
                    let built = Found::from(built);
                    for _ in 0..3 {
                        let found = routes.find(subject, &table, &interest);
                        prop_assert_eq!(&found, &built);
                    }
                }
            }
            prop_assert!(routes.young.n_bytes + routes.old.n_bytes <= 8_000);
        }
    }
}

use crate::shard::interest::{Change, MemberCounts, Role};
use crate::shard::table::{Group, Place};

#[test]
fn a_subject_is_kept_at_second_sight() {
    let keys = Keys::from_seed([1, 2, 3, 4, 5, 6]);
    let (table, interest) = (Table::new(&keys), Interest::new(&keys));
    let mut routes = Routes::new(CoreId(0), &keys, 8_000);
    routes.find(b"a", &table, &interest);
    assert!(routes.young.results.is_empty());
    routes.find(b"a", &table, &interest);
    assert_eq!(routes.young.results.len(), 1);
}
