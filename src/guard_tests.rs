use super::*;

const A: Key = Key::new([0x52, 0x54, 0, 0, 0, 1]);
const B: Key = Key::new([0x52, 0x54, 0, 0, 0, 2]);

#[test]
fn who_holds_it_is_named() {
    for (key, text) in [
        (A, "the node 52:54:00:00:00:01"),
        (Key(0), "somebody with the key 0x0000000000000000"),
        (Key(0xabc), "somebody with the key 0x0000000000000abc"),
    ] {
        assert_eq!(key.to_string(), text);
    }
    let reserved = Reserved { key: A, lun: 3 };
    assert_eq!(reserved.to_string(), "5344525400000001@3");
    assert_eq!(reserved.to_string().parse(), Ok(reserved));
    for wrong in ["", "5344525400000001", "@3", "xyz@3", "5344525400000001@", "15344525400000001@3"] {
        assert!(wrong.parse::<Reserved>().is_err(), "{wrong:?}");
    }
}

#[test]
fn whose_it_is_decides() {
    use Moment::{Mount, Recovery, TakeOver};
    let table: &[(Moment, u32, &[Key], Option<Key>, Result<Was, &str>)] = &[
        (Mount, 0, &[], None, Ok(Was::Free)),
        (Mount, 9, &[B], None, Ok(Was::Free)),
        (Mount, 9, &[A], Some(A), Ok(Was::Own)),
        (Mount, 9, &[A, B], Some(B), Err("the node 52:54:00:00:00:02 has reserved the LUN")),
        (Mount, 9, &[], Some(Key(0)), Err("somebody with the key 0x0000000000000000 has reserved")),
        (TakeOver, 9, &[B], Some(B), Ok(Was::Of(B))),
        (TakeOver, 9, &[A, B], Some(A), Ok(Was::Own)),
        (TakeOver, 0, &[], None, Ok(Was::Free)),
        (Recovery, 9, &[A], Some(A), Ok(Was::Own)),
        (Recovery, 0, &[], None, Ok(Was::Free)),
        // The login broke between REGISTER and RESERVE.
        (Recovery, 1, &[A], None, Ok(Was::Free)),
        (Recovery, 9, &[], None, Err("the reservation of the LUN is gone, and somebody has registered")),
        (Recovery, 1, &[B], None, Err("the reservation of the LUN is gone, and somebody has registered")),
        (Recovery, 2, &[B], Some(B), Err("the node 52:54:00:00:00:02 has reserved the LUN")),
        (Recovery, 2, &[A, B], Some(B), Err("the node 52:54:00:00:00:02 has reserved the LUN")),
    ];
    for (moment, generation, keys, holder, expected) in table {
        let keys = Keys { generation: *generation, keys: keys.iter().map(|key| key.0).collect() };
        let got = judge(A, *moment, &keys, holder.map(|key| key.0));
        let case = format!("{moment:?}, {keys:x?}, {holder:?}: {got:?}");
        match (&got, expected) {
            (Ok(was), Ok(expected)) => assert_eq!(was, expected, "{case}"),
            (Err(error), Err(start)) => assert!(error.to_string().starts_with(start) && error.is_loss(), "{case}"),
            _ => panic!("{case}"),
        }
    }
}

/// A target as SPC-4 has it. A nexus is what it takes for one: a login, or a name.
#[derive(Default)]
struct Target {
    generation: u32,
    registered: Vec<(u32, u64)>,
    /// The nexus.
    holder: Option<u32>,
    /// How many unit attentions come first.
    attentions: u32,
    /// Whether a registration is answered with an error, and done all the same.
    cannot_note: bool,
    /// What another node does before the first RESERVE.
    rival: Option<Key>,
}

impl Target {
    fn answer(&mut self, nexus: u32, command: &Command) -> Answer {
        let status = |status| Answer { status, ..Answer::default() };
        if self.attentions > 0 {
            self.attentions -= 1;
            return Answer { status: 2, sense: Sense { key: 6, code: 0x29, qualifier: 0 }, data: Vec::new() };
        }
        let registered = self.registered.clone();
        let key_of = |nexus| registered.iter().find(|(of, _)| *of == nexus).map(|(_, key)| *key);
        let list = |keys: Vec<u64>, more: &[u8]| {
            let mut data = self.generation.to_be_bytes().to_vec();
            data.extend((u32::try_from(8 * keys.len() + more.len()).unwrap()).to_be_bytes());
            data.extend(keys.iter().flat_map(|key| key.to_be_bytes()));
            data.extend(more);
            Answer { data, ..Answer::default() }
        };
        match *command {
            Command::TestUnitReady => status(0),
            Command::ReadKeys => list(self.registered.iter().map(|(_, key)| *key).collect(), &[]),
            Command::ReadReservation => match self.holder {
                Some(nexus) => list(vec![key_of(nexus).unwrap()], &[0, 0, 0, 0, 0, 1, 0, 0]),
                None => list(vec![], &[]),
            },
            Command::Register { new } => {
                self.registered.retain(|(of, _)| *of != nexus);
                if new == 0 {
                    self.holder = self.holder.filter(|holder| *holder != nexus);
                } else {
                    self.registered.push((nexus, new));
                }
                self.generation += 1;
                match self.cannot_note {
                    true => Answer { status: 2, sense: NOT_NOTED, data: Vec::new() },
                    false => status(0),
                }
            }
            Command::Reserve { key } => {
                if let Some(rival) = self.rival.take() {
                    self.registered.push((99, rival.0));
                    self.holder = Some(99);
                }
                if key_of(nexus) != Some(key) || self.holder.is_some_and(|holder| holder != nexus) {
                    return status(0x18);
                }
                self.holder = Some(nexus);
                status(0)
            }
            Command::Preempt { key, other } => {
                if key_of(nexus) != Some(key) || key_of(self.holder.unwrap()) != Some(other) {
                    return status(0x18);
                }
                self.registered.retain(|(of, key)| *of == nexus || *key != other);
                self.holder = Some(nexus);
                self.generation += 1;
                status(0)
            }
        }
    }

    fn hold(&mut self, nexus: u32, key: Key, moment: Moment) -> Result<Was, String> {
        hold(key, moment, &mut |command| Ok(self.answer(nexus, command))).map_err(|error| error.to_string())
    }
}

#[test]
fn a_node_has_its_lun_again_and_another_one_has_not() {
    let mut target = Target { attentions: 1, ..Target::default() };
    assert_eq!(target.hold(1, A, Moment::Mount), Ok(Was::Free));
    assert_eq!((target.holder, target.registered.as_slice()), (Some(1), [(1, A.0)].as_slice()));
    // To tgt each login is another nexus; to LIO it is the same one.
    for nexus in [2, 2, 3] {
        for moment in [Moment::Recovery, Moment::Mount] {
            assert_eq!(target.hold(nexus, A, moment), Ok(Was::Own));
            assert_eq!((target.holder, target.registered.as_slice()), (Some(nexus), [(nexus, A.0)].as_slice()));
        }
    }
    let refused = Err("the node 52:54:00:00:00:01 has reserved the LUN, and may be writing to it".to_owned());
    assert_eq!(target.hold(7, B, Moment::Mount), refused);
    assert_eq!((target.holder, target.registered.as_slice()), (Some(3), [(3, A.0)].as_slice()));
    // Whoever is told to takes it, and the other one has it no more.
    assert_eq!(target.hold(7, B, Moment::TakeOver), Ok(Was::Of(A)));
    assert_eq!(target.registered, [(7, B.0)]);
    assert!(target.hold(3, A, Moment::Recovery).unwrap_err().starts_with("the node 52:54:00:00:00:02 has"));
    release(&mut |command| Ok(target.answer(7, command))).unwrap();
    assert_eq!((target.holder, target.registered.len()), (None, 0));
    assert!(target.hold(3, A, Moment::Recovery).unwrap_err().starts_with("the reservation of the LUN is gone"));
    assert_eq!(target.hold(8, A, Moment::Mount), Ok(Was::Free));
}

#[test]
fn of_two_nodes_that_come_at_once_one_has_it() {
    let mut target = Target { rival: Some(B), ..Target::default() };
    let refused = Err("the node 52:54:00:00:00:02 has reserved the LUN, and may be writing to it".to_owned());
    assert_eq!(target.hold(1, A, Moment::Mount), refused);
    assert_eq!((target.holder, target.registered.as_slice()), (Some(99), [(99, B.0)].as_slice()));
}

#[test]
fn a_target_that_cannot_note_a_registration_reserves_all_the_same() {
    let mut target = Target { cannot_note: true, ..Target::default() };
    assert_eq!(target.hold(1, A, Moment::Mount), Ok(Was::Free));
    assert!(target.hold(2, B, Moment::Mount).unwrap_err().starts_with("the node 52:54:00:00:00:01 has"));
    release(&mut |command| Ok(target.answer(1, command))).unwrap();
    assert_eq!((target.holder, target.registered.len()), (None, 0));
}

#[test]
fn what_a_target_cannot_do_is_told() {
    let answer = |status, key, code| Answer { status, sense: Sense { key, code, qualifier: 0 }, data: Vec::new() };
    for (answer, expected) in [
        (answer(2, 5, 0x20), "the target has no persistent reservations"),
        (answer(2, 6, 0x29), "PERSISTENT RESERVE IN, READ KEYS: the target answered with status 0x02, sense 6/29/00"),
        (answer(8, 0, 0), "PERSISTENT RESERVE IN, READ KEYS: the target answered with status 0x08, sense 0/00/00"),
        (answer(0, 0, 0), "PERSISTENT RESERVE IN, READ KEYS: the target sent 0 bytes that are no answer to it"),
    ] {
        let error = hold(A, Moment::Mount, &mut |_| Ok(answer.clone())).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(!error.is_loss());
    }
}
