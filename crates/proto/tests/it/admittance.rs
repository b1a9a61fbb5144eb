//! Whom the operator lets in (docs/spec/admittance.md).

use std::collections::BTreeSet;

use dsip_proto::relay::host::{Admittance, Close, Conn, INVITE_CODE, Input, Invitation, Output, Turn};
use dsip_proto::time::Wall;
use dsip_proto::turn::{Issuer, Ports};
use dsip_proto::wire::media::VersionBlock;
use dsip_proto::wire::token::{ProfileId, SubscriptionEvent};
use dsip_proto::wire::{Did, Message, message};
use serde_json::json;

use crate::host::{Device, World, heard, reasons};

const CODE: &str = "abcde-fghij";

fn open_to(members: &[&Device]) -> Admittance {
    let members = members.iter().map(|member| member.identity.clone()).collect();
    Admittance { closed: true, members, ..Admittance::default() }
}

fn admit(world: &mut World, admittance: Admittance) -> Vec<Output> {
    world.input(Input::Admit(admittance))
}

/// What a device brings to become a member.
fn bring(world: &mut World, device: &Device, target: &Did, code: &str) -> Message {
    let mut common = world.common(&device.did);
    common.dsip = VersionBlock::new(&[ProfileId::INTERACTIVE_MEDIA]);
    let claim = json!({ "type": INVITE_CODE, "code": code });
    message::Subscribe {
        common,
        to: world.host.did().clone(),
        target: target.to_string(),
        events: vec![SubscriptionEvent::PRESENCE],
        expires_in: 60,
        claims: Some(vec![claim.as_object().cloned().expect("an object")]),
        capability: None,
    }
    .into()
}

fn closes(out: &[Output]) -> Vec<(Conn, Close)> {
    let close = |output: &Output| match output {
        Output::Close { conn, why } => Some((*conn, *why)),
        _ => None,
    };
    out.iter().filter_map(close).collect()
}

fn joined(out: &[Output]) -> Vec<&Did> {
    let mut joined = Vec::new();
    for output in out {
        if let Output::Joined { identity, code } = output {
            assert_eq!(code, CODE);
            joined.push(identity);
        }
    }
    joined
}

#[test]
fn adm_1_who_is_barred_is_told_to_go_and_not_let_in_again() {
    let mut world = World::new(|_| {});
    let (mallory, bob) = (Device::new(1), Device::new(2));
    let (mallorys, bobs) = (world.bind(1, &mallory), world.bind(2, &bob));
    let barred = BTreeSet::from([mallory.identity.clone()]);
    let out = admit(&mut world, Admittance { barred, ..Admittance::default() });
    assert_eq!(closes(&out), [(mallorys, Close::Barred)]);

    let again = world.connect(3);
    let hello = world.hello(&mallory);
    let out = world.say(again, &mallory.signer.sign(&hello));
    assert_eq!(reasons(&out, again), ["transport.hello-rejected"]);
    let invite = world.invite(&bob, &mallory.identity);
    let out = world.say(bobs, &bob.signer.sign(&invite));
    assert!(heard(&out, again).is_empty(), "nothing reaches them");

    // A device alone can be barred, too; its owner has others.
    let barred = BTreeSet::from([bob.did.clone()]);
    let out = admit(&mut world, Admittance { barred, ..Admittance::default() });
    assert_eq!(closes(&out), [(bobs, Close::Barred)]);
    world.bind(4, &mallory);
}

#[test]
fn adm_2_a_code_makes_so_many_members_and_no_more() {
    let mut world = World::new(|_| {});
    let guests = [Device::new(1), Device::new(2), Device::new(3)];
    let until = world.now.wall.secs() + 60;
    let codes = [(CODE.to_owned(), Invitation { uses: 2, until })].into();
    admit(&mut world, Admittance { closed: true, codes, ..Admittance::default() });
    let mut bring_all = Vec::new();
    for (conn, guest) in (1..).zip(&guests) {
        let at = world.bind(conn, guest);
        let wrong = bring(&mut world, guest, &guest.identity, "abcde-fghik");
        assert_eq!(reasons(&world.say(at, &guest.signer.sign(&wrong)), at), ["transport.routing-refused"]);
        let right = bring(&mut world, guest, &guest.identity, CODE);
        let out = world.say(at, &guest.signer.sign(&right));
        bring_all.push((joined(&out).len(), reasons(&out, at).len()));
    }
    assert_eq!(bring_all, [(1, 0), (1, 0), (0, 1)]);

    // Bringing it again uses nothing up.
    let again = bring(&mut world, &guests[0], &guests[0].identity, CODE);
    let out = world.say(Conn(1), &guests[0].signer.sign(&again));
    assert_eq!((joined(&out).len(), reasons(&out, Conn(1)).len()), (0, 0));
}

#[test]
fn adm_2_what_can_be_no_code_makes_nobody_a_member() {
    let mut world = World::new(|_| {});
    let guest = Device::new(1);
    admit(&mut world, open_to(&[]));
    let at = world.bind(1, &guest);
    for code in ["", "x".repeat(65).as_str()] {
        let bring = bring(&mut world, &guest, &guest.identity, code);
        let out = world.say(at, &guest.signer.sign(&bring));
        assert_eq!(
            (joined(&out).len(), reasons(&out, at)),
            (0, vec!["transport.routing-refused".to_owned()]),
            "{code:?}"
        );
    }
}

#[test]
fn adm_2_a_code_ends() {
    let mut admittance = Admittance::default();
    let until = Wall::from_secs(1_000).secs();
    admittance.codes.insert(CODE.to_owned(), Invitation { uses: 2, until });
    let bob = Device::new(2).identity;
    assert!(!admittance.redeem(CODE, &bob, until + 1));
    assert!(admittance.redeem(CODE, &bob, until));
    assert!(!admittance.redeem(CODE, &bob, until), "a member already");
    assert_eq!(admittance.codes[CODE].uses, 1);
}

#[test]
fn adm_3_a_closed_node_carries_what_concerns_a_member() {
    let mut world = World::new(|_| {});
    let (member, guest, other) = (Device::new(1), Device::new(2), Device::new(3));
    admit(&mut world, open_to(&[&member]));
    let at = [world.bind(1, &member), world.bind(2, &guest), world.bind(3, &other)];

    let invite = world.invite(&guest, &member.identity);
    let out = world.say(at[1], &guest.signer.sign(&invite));
    assert_eq!(heard(&out, at[0]).len(), 1, "guests call members");
    let bye = world.bye(&member, &guest.did, "by the device's name");
    let out = world.say(at[0], &member.signer.sign(&bye));
    assert_eq!(heard(&out, at[1]).len(), 1, "members answer guests");
    let bye = world.bye(&guest, &member.did, "by the device's name");
    let out = world.say(at[1], &guest.signer.sign(&bye));
    assert_eq!(heard(&out, at[0]).len(), 1, "a member's device is a member's");

    let invite = world.invite(&guest, &other.identity);
    let out = world.say(at[1], &guest.signer.sign(&invite));
    assert_eq!(reasons(&out, at[1]), ["transport.routing-refused"]);
    assert!(heard(&out, at[2]).is_empty());
}

#[test]
fn adm_4_guests_get_no_credentials_and_are_told_what_they_are() {
    let ports = Ports { udp: Some(3478), tcp: None, tls: None };
    let lifetime = std::time::Duration::from_secs(60);
    let turn = Turn { issuer: Issuer::new([1; 32]), ports, lifetime };
    let mut world = World::new(|config| config.turn = Some(turn));
    let (member, guest) = (Device::new(1), Device::new(2));
    admit(&mut world, open_to(&[&member]));
    for (conn, device, is_member) in [(1, &member, true), (2, &guest, false)] {
        let conn = world.connect(conn);
        let hello = world.hello(device);
        let out = world.say(conn, &device.signer.sign(&hello));
        let capabilities = heard(&out, conn)[0]["capabilities"].clone();
        assert_eq!((capabilities["member"].as_bool(), capabilities["turn"].is_object()), (Some(is_member), is_member));
    }
    // An open node has no members to speak of.
    admit(&mut world, Admittance::default());
    let conn = world.connect(3);
    let hello = world.hello(&guest);
    let out = world.say(conn, &guest.signer.sign(&hello));
    assert!(heard(&out, conn)[0]["capabilities"].get("member").is_none());
}
