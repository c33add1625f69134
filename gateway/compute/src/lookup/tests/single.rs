//! Finding, kicking and taking over, one at a time.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use causeway_model::{Epoch, Incarnation, Millis, Position};
use tokio::time::Instant;

use super::net::{Connected, Gateway, Net, client, cluster, map, member, namespace};
use crate::double::process;
use crate::lookup::{Clients, Kicks, Settings, Whereabouts};
use crate::port::{Answer, Ask, Lookup, Peer, Slot, Whereabout};
use crate::registry::{Kick, Registry};

const AT_ONCE: Duration = Duration::from_millis(1);

/// Long enough for every retry, on a clock that stands still unless all wait.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(30)).await;
}

async fn holder(asker: &Gateway, number: usize) -> Option<String> {
    match asker.clients.find(&namespace(), &client(number)).await {
        Whereabouts::Online { name, online, .. } => {
            assert_eq!(online.client, client(number));
            Some(name.to_string())
        }
        Whereabouts::Offline => None,
        Whereabouts::Unknown { silent } => panic!("{silent:?} silent"),
    }
}

async fn three(net: &Net) -> [Gateway; 3] {
    let map = map(1, &[1, 2, 3]);
    let gateways = [1, 2, 3].map(|number| Gateway::start(net, number, &map));
    settle().await;
    gateways
}

/// The gateway among some that owns a client's slot.
fn owner_of(gateways: &[Gateway], number: usize) -> usize {
    let members: Vec<_> = gateways.iter().map(|gateway| gateway.member.clone()).collect();
    let slot = Slot::of(gateways[0].registry.id(&namespace(), &client(number)));
    let owner = crate::lookup::owner_of(slot, &members).unwrap();
    members.iter().position(|member| member == owner).unwrap()
}

/// A client whose slot is owned by a gateway.
fn client_of(gateways: &[Gateway], owner: usize) -> usize {
    (0..10_000).find(|number| owner_of(gateways, *number) == owner).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_is_alone_asks_nobody_and_remembers_nothing() {
    let net = Net::new(1);
    let gateway = Gateway::start(&net, 1, &map(1, &[1]));
    gateway.clients.introduced().await;
    let connected = gateway.connect(7, 1, Duration::ZERO);
    settle().await;
    assert_eq!(holder(&gateway, 7).await.as_deref(), Some("gw-1"));
    assert_eq!(holder(&gateway, 8).await, None);
    assert!(gateway.clients.take_over(&namespace(), &client(8)).is_none());
    gateway.clients.kick_at(Incarnation(99), &namespace(), &client(7), Epoch(Position(9)), Kick::TakenOver);
    connected.leave();
    settle().await;
    assert!(gateway.registry.changes(10).list.is_empty());
    assert_eq!(net.asked(), 0);

    let registry = Registry::new(cluster(), process().metrics.clients_online.clone());
    let alone = Clients::alone(Incarnation(1), "here".into(), registry);
    alone.introduced().await;
    assert_eq!(alone.find(&namespace(), &client(1)).await, Whereabouts::Offline);
    assert_eq!(alone.kick(&namespace(), &client(1), Kick::Administrator).await, Kicks::Offline);
    assert!(alone.take_over(&namespace(), &client(1)).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_client_is_found_by_its_hint_wherever_it_is_and_whoever_owns_its_slot() {
    let net = Net::new(1);
    let gateways = three(&net).await;
    let connected: Vec<_> = (0..60).map(|n| gateways[n % 3].connect(n, 1, Duration::ZERO)).collect();
    settle().await;
    for asker in &gateways {
        for number in 0..60 {
            assert_eq!(holder(asker, number).await.unwrap(), format!("gw-{}", number % 3 + 1));
        }
        let metrics = &asker.process.metrics.lookup;
        assert_eq!((metrics.found_here.get(), metrics.found_by_hint.get(), metrics.broadcasts.get()), (20, 40, 0));
    }
    connected.iter().for_each(Connected::leave);
    settle().await;
    for asker in &gateways {
        assert_eq!(holder(asker, 1).await, None);
        assert_eq!(asker.process.metrics.lookup.entries.get(), 0, "who left is in nobody's memory");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_offline_only_if_everybody_says_so() {
    let net = Net::new(1);
    let [a, b, c] = three(&net).await;
    net.cut(a.member.incarnation, c.member.incarnation);
    let found = a.clients.find(&namespace(), &client(1)).await;
    assert_eq!(found, Whereabouts::Unknown { silent: vec!["gw-3".into()] });
    assert_eq!(
        a.clients.kick(&namespace(), &client(1), Kick::Administrator).await,
        Kicks::Unknown { silent: vec!["gw-3".into()] }
    );
    assert_eq!(holder(&b, 1).await, None);
    net.heal();
    assert_eq!(holder(&a, 1).await, None);
    c.kill();
    let found = a.clients.find(&namespace(), &client(1)).await;
    assert_eq!(found, Whereabouts::Unknown { silent: vec!["gw-3".into()] });
    a.told(&map(2, &[1, 2]));
    b.told(&map(2, &[1, 2]));
    assert_eq!(holder(&a, 1).await, None, "it is gone from the map: its clients are not online");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_hint_is_found_out_and_taken_back() {
    let net = Net::new(1);
    let gateways = three(&net).await;
    let number = client_of(&gateways, 1);
    let _connected = gateways[2].connect(number, 5, Duration::ZERO);
    settle().await;
    let id = gateways[0].registry.id(&namespace(), &client(number));
    // Newer than the truth, and nobody has it.
    let wrong = Whereabout { client: id, gateway: gateways[1].member.incarnation, epoch: Epoch(Position(9)) };
    let enter = Ask::Enter { epoch: map(1, &[]).epoch, entries: vec![wrong] };
    assert_eq!(gateways[1].clients.answer(vec![enter]).await, [Answer::Done]);
    assert_eq!(holder(&gateways[0], number).await.as_deref(), Some("gw-3"));
    let metrics = &gateways[0].process.metrics.lookup;
    assert_eq!((metrics.stale_hints.get(), metrics.broadcasts.get()), (1, 1));
    settle().await;
    let find = Ask::Find { epoch: map(1, &[]).epoch, client: id };
    assert_eq!(gateways[1].clients.answer(vec![find]).await, [Answer::Found(None)]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_owner_costs_one_deadline_and_not_one_a_question() {
    let net = Net::new(1);
    let gateways = three(&net).await;
    let number = client_of(&gateways, 1);
    let _connected = gateways[2].connect(number, 5, Duration::ZERO);
    settle().await;
    net.cut(gateways[0].member.incarnation, gateways[1].member.incarnation);
    let start = Instant::now();
    assert_eq!(holder(&gateways[0], number).await.as_deref(), Some("gw-3"));
    assert!(start.elapsed() <= Settings::default().deadline + AT_ONCE, "{:?}", start.elapsed());
    let start = Instant::now();
    for _ in 0..10 {
        assert_eq!(holder(&gateways[0], number).await.as_deref(), Some("gw-3"));
    }
    assert!(start.elapsed() <= AT_ONCE, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_is_kicked_wherever_it_is() {
    let net = Net::new(1);
    let gateways = three(&net).await;
    for (number, at) in [(1, 0), (2, 1), (3, 2)] {
        let connected = gateways[at].connect(number, 1, Duration::ZERO);
        settle().await;
        let kicked = gateways[0].clients.kick(&namespace(), &client(number), Kick::Administrator).await;
        let (gateway, name) = (gateways[at].member.incarnation, gateways[at].member.name.clone());
        assert_eq!(kicked, Kicks::Kicked { gateway, name });
        tokio::time::timeout(Duration::from_secs(20), connected.ended()).await.unwrap();
        assert_eq!(gateways[0].clients.kick(&namespace(), &client(number), Kick::Administrator).await, Kicks::Offline);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_over_waits_for_last_words_but_not_for_long() {
    let net = Net::new(1);
    let gateways = three(&net).await;
    let limit = Settings::default().take_over;
    for (epoch, words, waited) in [
        (1, Duration::ZERO, Duration::ZERO),
        (2, Duration::from_millis(50), Duration::from_millis(50)),
        (3, Duration::from_secs(5), limit),
    ] {
        let connected = gateways[1].connect(7, epoch, words);
        settle().await;
        let start = Instant::now();
        gateways[0].clients.take_over(&namespace(), &client(7)).unwrap().await;
        let took = start.elapsed();
        assert!((waited..=waited + 2 * AT_ONCE).contains(&took), "{took:?} for words of {words:?}");
        assert_eq!(connected.has_ended(), words <= took);
        tokio::time::timeout(Duration::from_secs(20), connected.ended()).await.unwrap();
        settle().await;
    }
    // Nobody holds it: nobody but the owner of its slot is asked.
    let asked = net.asked();
    gateways[0].clients.take_over(&namespace(), &client(7)).unwrap().await;
    assert!(net.asked() <= asked + 1);
    let connected = gateways[1].connect(7, 4, Duration::from_secs(5));
    let id = gateways[0].registry.id(&namespace(), &client(7));
    let kick = Ask::Kick { client: id, why: Kick::TakenOver, upto: None, wait: Duration::from_hours(1) };
    let start = Instant::now();
    assert_eq!(gateways[1].clients.answer(vec![kick]).await, [Answer::Kicked(crate::port::Kicked::Asked)]);
    assert!(start.elapsed() <= Duration::from_secs(1) + AT_ONCE, "whatever is asked for");
    tokio::time::timeout(Duration::from_secs(20), connected.ended()).await.unwrap();
    // Neither a silent owner nor a silent holder is waited for.
    let number = client_of(&gateways, 2);
    let _connected = gateways[1].connect(number, 1, Duration::ZERO);
    settle().await;
    for silent in [2, 1] {
        net.cut(gateways[0].member.incarnation, gateways[silent].member.incarnation);
        let start = Instant::now();
        gateways[0].clients.take_over(&namespace(), &client(number)).unwrap().await;
        assert!(start.elapsed() <= limit + AT_ONCE, "{:?}", start.elapsed());
        net.heal();
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_openings_that_were_fenced_are_kicked() {
    let net = Net::new(1);
    let gateways = three(&net).await;
    let there = gateways[1].member.incarnation;
    let kick_at = |epoch| {
        gateways[0].clients.kick_at(there, &namespace(), &client(7), Epoch(Position(epoch)), Kick::TakenOver);
    };
    let connected = gateways[1].connect(7, 10, Duration::ZERO);
    kick_at(9);
    settle().await;
    assert!(!connected.has_ended(), "it came after the opening that tells it to go");
    kick_at(11);
    tokio::time::timeout(Duration::from_secs(20), connected.ended()).await.unwrap();
    // One whose session is not open yet will be the newer one, or be fenced and told then.
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let (entering, _) = gateways[1].registry.enter(&namespace(), &client(8), peer, Millis(0));
    let id = gateways[0].registry.id(&namespace(), &client(8));
    let kick = |upto| Ask::Kick { client: id, why: Kick::TakenOver, upto, wait: Duration::ZERO };
    for upto in [Epoch(Position(u64::MAX)), Epoch(Position(1))] {
        let answer = gateways[1].clients.answer(vec![kick(Some(upto))]).await;
        assert_eq!(answer, [Answer::Kicked(crate::port::Kicked::Absent)]);
    }
    assert_eq!(gateways[1].clients.answer(vec![kick(None)]).await, [Answer::Kicked(crate::port::Kicked::Asked)]);
    assert_eq!(entering.kicked().await, Kick::TakenOver);
}

#[tokio::test(start_paused = true)]
async fn a_kick_waits_for_its_gateway_while_it_is_silent_or_unknown_and_goes_with_it() {
    let net = Net::new(1);
    let [a, b, _c] = three(&net).await;
    let kick = |at: &Gateway, number, epoch| {
        a.clients.kick_at(
            at.member.incarnation,
            &namespace(),
            &client(number),
            Epoch(Position(epoch)),
            Kick::TakenOver,
        );
    };
    let old: Vec<_> = (0..400).map(|number| b.connect(number, 1, Duration::ZERO)).collect();
    let newer = b.connect(400, 9, Duration::ZERO);
    net.cut(a.member.incarnation, b.member.incarnation);
    (0..=400).for_each(|number| kick(&b, number, 2));
    settle().await;
    assert!(!old.iter().any(Connected::has_ended), "nobody can tell it");
    net.heal();
    for connected in &old {
        tokio::time::timeout(Duration::from_secs(6), connected.ended()).await.unwrap();
    }
    assert!(!newer.has_ended());
    let d = Gateway::start(&net, 4, &map(2, &[1, 2, 3, 4]));
    let early = d.connect(500, 1, Duration::ZERO);
    kick(&d, 500, 2);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!early.has_ended(), "its name is not known yet");
    a.told(&map(2, &[1, 2, 3, 4]));
    tokio::time::timeout(Duration::from_secs(1), early.ended()).await.unwrap();
    net.cut(a.member.incarnation, b.member.incarnation);
    kick(&b, 400, 10);
    tokio::time::sleep(Duration::from_secs(1)).await;
    a.told(&map(3, &[1, 3, 4]));
    net.heal();
    settle().await;
    assert!(!newer.has_ended(), "nobody is told who is gone");
}

#[tokio::test(start_paused = true)]
async fn the_first_newcomer_is_kicked_at_though_its_name_is_not_known_yet() {
    let net = Net::new(1);
    let a = Gateway::start(&net, 1, &map(1, &[1]));
    let b = Gateway::start(&net, 2, &map(2, &[1, 2]));
    let connected = b.connect(7, 1, Duration::ZERO);
    a.clients.kick_at(b.member.incarnation, &namespace(), &client(7), Epoch(Position(2)), Kick::TakenOver);
    settle().await;
    assert!(!connected.has_ended());
    a.told(&map(2, &[1, 2]));
    tokio::time::timeout(Duration::from_secs(1), connected.ended()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_two_connections_of_a_client_the_one_that_was_opened_last_is_found() {
    let net = Net::new(1);
    let map = map(1, &[1, 2, 3, 4, 5]);
    let gateways = [1, 2, 3, 4, 5].map(|number| Gateway::start(&net, number, &map));
    settle().await;
    let number = client_of(&gateways, 4);
    let opened = [(1, 5), (2, 7), (3, 6)].map(|(at, epoch)| gateways[at].connect(number, epoch, Duration::ZERO));
    settle().await;
    // Without their owner everybody is asked, and answers when it likes.
    net.cut(gateways[0].member.incarnation, gateways[4].member.incarnation);
    net.disturb(0, Duration::from_millis(100));
    for _ in 0..50 {
        assert_eq!(holder(&gateways[0], number).await.as_deref(), Some("gw-3"));
    }
    assert!(gateways[0].process.metrics.lookup.broadcasts.get() >= 50);
    assert!(!opened.iter().any(Connected::has_ended));
}

#[tokio::test(start_paused = true)]
async fn pages_have_everybody_of_every_gateway_once_in_the_order_of_ids() {
    let net = Net::new(1);
    let gateways = three(&net).await;
    let _connected: Vec<_> = (0..100).map(|n| gateways[n % 3].connect(n, 1, Duration::ZERO)).collect();
    let mut seen = Vec::new();
    loop {
        let page = gateways[0].clients.page(seen.last().copied(), 7).await;
        assert!(page.silent.is_empty() && page.clients.len() <= 7);
        if page.clients.is_empty() {
            break;
        }
        seen.extend(page.clients.iter().map(|(_, online)| online.id));
    }
    assert_eq!(seen.len(), 100);
    assert!(seen.is_sorted_by(|a, b| a < b));
    net.cut(gateways[0].member.incarnation, gateways[2].member.incarnation);
    let page = gateways[0].clients.page(None, 1000).await;
    assert_eq!((page.silent, page.clients.len()), (vec!["gw-3".into()], 67));
}

#[tokio::test(start_paused = true)]
async fn nobody_calls_a_client_offline_whose_gateway_it_has_not_heard_of_yet() {
    let net = Net::new(1);
    let [a, b, c] = three(&net).await;
    let newcomer = Gateway::start(&net, 4, &map(2, &[1, 2, 3, 4]));
    newcomer.clients.introduced().await;
    let _connected = newcomer.connect(7, 1, Duration::ZERO);
    for asker in [&a, &b, &c] {
        let found = asker.clients.find(&namespace(), &client(7)).await;
        assert_eq!(found, Whereabouts::Unknown { silent: Vec::new() });
    }
    let find = a.clients.find_id(a.registry.id(&namespace(), &client(7)));
    let tell = async {
        tokio::time::sleep(Settings::default().deadline / 2).await;
        a.told(&map(2, &[1, 2, 3, 4]));
    };
    let (found, ()) = tokio::join!(find, tell);
    assert!(matches!(found, Whereabouts::Online { name, .. } if name == "gw-4"));
    // Whoever heard of it tells those who did not.
    let newest = Gateway::start(&net, 5, &map(3, &[1, 2, 3, 4, 5]));
    net.cut(newest.member.incarnation, b.member.incarnation);
    newest.clients.introduced().await;
    assert_eq!(b.clients.find(&namespace(), &client(9)).await, Whereabouts::Unknown { silent: Vec::new() });
}

#[tokio::test(start_paused = true)]
async fn who_was_stalled_when_a_newcomer_came_hears_of_it_as_soon_as_it_hears() {
    let net = Net::new(1);
    let alone = Gateway::start(&net, 1, &map(1, &[1]));
    for number in [2, 3] {
        let newcomer = Gateway::start(&net, number, &map(2, &[1, number]));
        net.cut(alone.member.incarnation, newcomer.member.incarnation);
        let start = Instant::now();
        newcomer.clients.introduced().await;
        assert!(start.elapsed() <= Settings::default().deadline + AT_ONCE, "a dead one holds nobody up");
        let _connected = newcomer.connect(7, 1, Duration::ZERO);
        settle().await;
        if number == 2 {
            newcomer.told(&map(3, &[2]));
            settle().await;
        }
        net.heal();
        tokio::time::sleep(Settings::default().deadline + Duration::from_millis(200)).await;
        let found = alone.clients.find(&namespace(), &client(7)).await;
        let unknown = Whereabouts::Unknown { silent: Vec::new() };
        assert_eq!(found, if number == 2 { Whereabouts::Offline } else { unknown }, "{number}");
        newcomer.kill();
    }
}

#[tokio::test(start_paused = true)]
async fn more_changes_than_are_remembered_cost_a_walk_through_everybody_and_leave_nothing_behind() {
    let net = Net::new(1);
    let map = map(1, &[1, 2]);
    let gateways = [1, 2].map(|number| Gateway::start(&net, number, &map));
    settle().await;
    let mut rising = 0..;
    let mut storm = || {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let enter = |number: usize| {
            let (presence, _) = gateways[0].registry.enter(&namespace(), &client(number), peer, Millis(0));
            let sid = causeway_model::Sid { home: causeway_model::ShardId(0), position: Position(1) };
            presence.opened(sid, Epoch(Position(rising.next().unwrap())));
            presence
        };
        // All at once: the feed has no turn between them.
        (0..70_000).map(enter).collect::<Vec<_>>()
    };
    let connected = storm();
    settle().await;
    let entries = || gateways.iter().map(|gateway| gateway.process.metrics.lookup.entries.get()).sum::<i64>();
    assert_eq!(entries(), 70_000);
    for number in (0..70_000).step_by(997) {
        assert_eq!(holder(&gateways[1], number).await.as_deref(), Some("gw-1"));
    }
    assert_eq!(gateways[1].process.metrics.lookup.broadcasts.get(), 0);
    drop(connected);
    settle().await;
    assert_eq!(entries(), 0);
}

#[tokio::test(start_paused = true)]
async fn over_the_bound_of_entries_clients_are_found_by_asking_everybody() {
    let net = Net::new(1);
    let map = map(1, &[1, 2]);
    let settings = Settings { entries: 10, ..Settings::default() };
    let gateways = [1, 2].map(|number| Gateway::with(&net, number, &map, None, settings));
    settle().await;
    let refusals = || gateways.iter().map(|gateway| gateway.process.metrics.lookup.refusals.get()).sum::<u64>();
    let before = refusals();
    let _connected: Vec<_> = (0..100).map(|number| gateways[0].connect(number, 1, Duration::ZERO)).collect();
    settle().await;
    for number in 0..100 {
        assert_eq!(holder(&gateways[1], number).await.as_deref(), Some("gw-1"));
    }
    let metrics = &gateways[1].process.metrics.lookup;
    assert_eq!((metrics.found_by_hint.get(), metrics.broadcasts.get()), (20, 80));
    assert_eq!(refusals(), before, "nobody tries again");
}

#[tokio::test]
async fn what_a_gateway_cannot_answer_it_refuses() {
    let registry = Registry::new(cluster(), process().metrics.clients_online.clone());
    let alone = Clients::alone(member(1).incarnation, "here".into(), registry);
    let epoch = map(1, &[]).epoch;
    let asks = vec![Ask::Enter { epoch, entries: Vec::new() }, Ask::Page { after: None, limit: u32::MAX }];
    assert_eq!(alone.answer(asks).await, [Answer::Refused, Answer::Page(Vec::new())]);
    let slots = crate::lookup::Slots::new(
        Incarnation(1),
        Net::new(1).peers(Incarnation(1)),
        &Settings::default(),
        &process().metrics.lookup,
    );
    let client = causeway_model::QueueId([1; 16]);
    assert_eq!(slots.answer(&Ask::Where(client)), Answer::Refused);
    assert!(slots.find(vec![client]).await[0].is_none());
}
