//! Shared subscriptions (MQTT 5, section 4.8.2): each message goes to one member of a group, to one after the other.

use super::queue::{Queued, Wish};
use super::state::SessionState;
use crate::broker::{lock, Broker, Kind, Message, Name, Subscriber, SubscriberId};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};

#[derive(Debug)]
struct Member {
    session: Arc<SessionState>,
    wish: Wish,
}

#[derive(Debug, Default)]
struct Members {
    all: Vec<Member>,
    next: usize,
}

/// A group of one filter: a subscriber of the router.
pub(super) struct Group {
    id: u32,
    /// `group/filter`.
    name: Name,
    filter: Name,
    members: Mutex<Members>,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({})", String::from_utf8_lossy(&self.name))
    }
}

/// All groups.
#[derive(Debug, Default)]
pub(in crate::broker) struct Groups {
    by_name: HashMap<Name, u32>,
    by_id: HashMap<u32, (Arc<Group>, SubscriberId)>,
    last: u32,
}

impl Groups {
    fn find(&self, id: u32) -> Option<Arc<Group>> {
        self.by_id.get(&id).map(|(group, _)| group.clone())
    }
}

impl Group {
    /// Gives a message to one member, who is connected if there is one such; not to `except`. False: nobody takes it.
    fn give(&self, message: &Arc<Message>, except: Option<&Arc<SessionState>>) -> bool {
        let mut members = lock(&self.members);
        let count = members.all.len();
        for connected in [true, false] {
            for turn in 0..count {
                let place = (members.next + turn) % count;
                let Some(member) = members.all.get(place) else {
                    continue;
                };
                let is_out = except.is_some_and(|except| Arc::ptr_eq(except, &member.session));
                if is_out || (member.session.owner() != 0) != connected {
                    continue;
                }
                if member.session.accept(member.wish, message, self.id) {
                    members.next = (place + 1) % count;
                    return true;
                }
            }
        }
        false
    }

    /// Somebody else is connected.
    fn has_another(&self, session: &Arc<SessionState>) -> bool {
        let members = lock(&self.members);
        let mut all = members.all.iter();
        all.any(|member| member.session.owner() != 0 && !Arc::ptr_eq(&member.session, session))
    }
}

impl Subscriber for Group {
    fn deliver(&self, _: u32, message: &Arc<Message>) -> bool {
        self.give(message, None)
    }
}

/// Makes `session` a member of the group, or changes what it wishes as one; `name`: `group/filter`. The group's number.
pub(super) fn join(
    broker: &Arc<Broker>,
    name: &str,
    filter: &str,
    session: &Arc<SessionState>,
    wish: Wish,
) -> u32 {
    let mut groups = lock(&broker.mqtt.groups);
    let known = groups.by_name.get(name.as_bytes()).copied();
    let group = match known.and_then(|id| groups.find(id)) {
        Some(group) => group,
        None => {
            groups.last = groups.last.checked_add(1).unwrap_or(1);
            let group = Arc::new(Group {
                id: groups.last,
                name: name.as_bytes().into(),
                filter: filter.as_bytes().into(),
                members: Mutex::default(),
            });
            let subscriber = {
                let mut router = broker.router();
                let subscriber = router.enrol(group.clone());
                router.subscribe(Kind::Filter, &group.filter, subscriber, 0);
                subscriber
            };
            groups.by_name.insert(group.name.clone(), group.id);
            groups.by_id.insert(group.id, (group.clone(), subscriber));
            group
        }
    };
    let mut members = lock(&group.members);
    let mut all = members.all.iter_mut();
    match all.find(|member| Arc::ptr_eq(&member.session, session)) {
        Some(member) => member.wish = wish,
        None => members.all.push(Member {
            session: session.clone(),
            wish,
        }),
    }
    group.id
}

/// Ends a membership, and the group with its last one.
pub(super) fn leave(broker: &Arc<Broker>, id: u32, session: &Arc<SessionState>) {
    let mut groups = lock(&broker.mqtt.groups);
    let Some((group, subscriber)) = groups.by_id.get(&id).cloned() else {
        return;
    };
    let is_empty = {
        let mut members = lock(&group.members);
        members
            .all
            .retain(|member| !Arc::ptr_eq(&member.session, session));
        members.all.is_empty()
    };
    if is_empty {
        groups.by_id.remove(&id);
        groups.by_name.remove(&group.name);
        let mut router = broker.router();
        router.unsubscribe(Kind::Filter, &group.filter, subscriber);
        router.dismiss(subscriber);
    }
}

/// Gives messages that a member will not deal with to other members. What nobody takes is returned.
pub(super) fn give_to_others(
    broker: &Arc<Broker>,
    messages: Vec<Queued>,
    session: &Arc<SessionState>,
) -> VecDeque<Queued> {
    let is_left = |queued: &Queued| {
        let group = lock(&broker.mqtt.groups).find(queued.group);
        !group.is_some_and(|group| group.give(&queued.message, Some(session)))
    };
    messages.into_iter().filter(is_left).collect()
}

/// Those of these groups in which somebody else is connected.
pub(super) fn with_others(
    broker: &Arc<Broker>,
    groups: &[u32],
    session: &Arc<SessionState>,
) -> Vec<u32> {
    let known = lock(&broker.mqtt.groups);
    let has_another = |id: &&u32| {
        known
            .by_id
            .get(id)
            .is_some_and(|(group, _)| group.has_another(session))
    };
    groups.iter().filter(has_another).copied().collect()
}
