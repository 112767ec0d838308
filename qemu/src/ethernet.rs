//! The lab's network: an Ethernet switch, which is a process of its own beside the server's. Each machine's QEMU connects to
//! its socket and sends frames, each after its length (`-netdev stream`).
//!
//! A machine that takes nothing, as one whose driver is not loaded yet or that is halted, holds no other one up: what it
//! does not take is dropped, as by a real switch. QEMU's own end of such a socket would wait for it, and the server with it.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};

/// Before each frame stands its length, in network byte order.
const LENGTH: usize = 4;
/// No frame is longer: QEMU's own limit (`NET_BUFSIZE`) is less.
const LONGEST: usize = 128 << 10;
/// So much waits for a machine that does not take it, in bytes.
const WAITING: usize = 4 << 20;
/// How much is read at once.
const CHUNK: usize = 256 << 10;

/// A station's address.
type Mac = [u8; 6];

/// The cable to a machine.
struct Port {
    /// Unlike its place in the list, it stays.
    number: usize,
    stream: UnixStream,
    /// What came of a frame that is not whole.
    input: Vec<u8>,
    /// What the machine has not taken, from `taken` on.
    output: Vec<u8>,
    taken: usize,
    open: bool,
}

impl Port {
    fn new(number: usize, stream: UnixStream) -> Self {
        Self { number, stream, input: Vec::new(), output: Vec::new(), taken: 0, open: true }
    }

    /// Reads what there is, up to a chunk: whole frames with their lengths.
    fn frames(&mut self, chunk: &mut [u8]) -> Vec<u8> {
        match self.stream.read(chunk) {
            Ok(0) => self.open = false,
            Ok(length) => self.input.extend_from_slice(chunk.get(..length).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.open = false,
        }
        let mut whole = 0;
        while let Some(length) = length_at(&self.input, whole) {
            if length > LONGEST {
                self.open = false;
                break;
            }
            match whole.saturating_add(LENGTH).saturating_add(length) {
                end if end <= self.input.len() => whole = end,
                _ => break,
            }
        }
        let rest = self.input.split_off(whole);
        std::mem::replace(&mut self.input, rest)
    }

    /// Lets a frame with its length wait for the machine, or drops it.
    fn send(&mut self, frame: &[u8]) {
        let waiting = self.output.len().saturating_sub(self.taken);
        if waiting.saturating_add(frame.len()) <= WAITING {
            self.output.extend_from_slice(frame);
        }
    }

    /// Hands over what the machine takes now.
    fn flush(&mut self) {
        while let Some(left) = self.output.get(self.taken..).filter(|left| !left.is_empty()) {
            match self.stream.write(left) {
                Ok(length) => self.taken = self.taken.saturating_add(length),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.open &= error.kind() == ErrorKind::WouldBlock;
                    // What is taken goes when it is much.
                    if self.taken > WAITING {
                        self.output.drain(..self.taken);
                        self.taken = 0;
                    }
                    return;
                }
            }
        }
        self.output.clear();
        self.taken = 0;
    }
}

fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let length = bytes.get(at..)?.first_chunk::<LENGTH>()?;
    usize::try_from(u32::from_be_bytes(*length)).ok()
}

/// Is the switch, until the machine that connected first, which is the server, is gone. That has to come within `limit`.
pub fn switch(listener: &UnixListener, limit: Duration) -> Result<()> {
    let started = Instant::now();
    let mut ports: Vec<Port> = Vec::new();
    let mut known: HashMap<Mac, usize> = HashMap::new();
    let mut next = 0;
    let mut chunk = vec![0; CHUNK];
    listener.set_nonblocking(true).context("the switch's socket")?;
    loop {
        let wait = ports.is_empty().then(|| limit.saturating_sub(started.elapsed()));
        let (comes, ready) = wait_for(listener, &ports, wait)?;
        if ports.is_empty() && !comes && started.elapsed() >= limit {
            bail!("no machine has connected within {} s", limit.as_secs());
        }
        // Before anything is forwarded: who has connected hears all that is sent from then on.
        while let Some((stream, _)) = comes.then(|| listener.accept().ok()).flatten() {
            stream.set_nonblocking(true).context("a machine's socket")?;
            ports.push(Port::new(next, stream));
            next += 1;
        }
        for at in ready {
            let Some(port) = ports.get_mut(at) else { continue };
            let (from, frames) = (port.number, port.frames(&mut chunk));
            forward(&mut ports, &mut known, from, &frames);
        }
        ports.iter_mut().for_each(Port::flush);
        ports.retain(|port| port.open);
        if next > 0 && ports.first().is_none_or(|port| port.number != 0) {
            return Ok(());
        }
        known.retain(|_, number| ports.iter().any(|port| port.number == *number));
    }
}

/// Waits until something can be done, or `limit` is over: whether a machine connects, and the places of ports to read from.
fn wait_for(listener: &UnixListener, ports: &[Port], limit: Option<Duration>) -> Result<(bool, Vec<usize>)> {
    let mut polled = vec![PollFd::new(listener, PollFlags::IN)];
    polled.extend(ports.iter().map(|port| {
        let nothing_waits = port.output.is_empty();
        PollFd::new(&port.stream, if nothing_waits { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT })
    }));
    let limit = limit.map(Timespec::try_from).transpose().context("the limit")?;
    match poll(&mut polled, limit.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(errno).context("cannot wait for the machines"),
    }
    let happened = |at: usize| polled.get(at).is_some_and(|polled| !polled.revents().is_empty());
    let readable = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
    let ready = polled.iter().skip(1).enumerate().filter(|(_, polled)| polled.revents().intersects(readable));
    Ok((happened(0), ready.map(|(at, _)| at).collect()))
}

/// Sends frames of one port to the one that their station is known at, or to all others.
fn forward(ports: &mut [Port], known: &mut HashMap<Mac, usize>, from: usize, mut frames: &[u8]) {
    while let Some(length) = length_at(frames, 0) {
        let Some((frame, rest)) = frames.split_at_checked(LENGTH.saturating_add(length)) else { return };
        frames = rest;
        let mac = |at: usize| frame.get(at..).and_then(|bytes| bytes.first_chunk::<6>()).copied();
        let (Some(to), Some(station)) = (mac(LENGTH), mac(LENGTH + 6)) else { continue };
        known.insert(station, from);
        // No group of stations ever sends: it is never known.
        let place = known.get(&to).copied();
        for port in ports.iter_mut().filter(|port| port.number != from && place.is_none_or(|at| at == port.number)) {
            port.send(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::thread::JoinHandle;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    struct Network {
        path: PathBuf,
        switch: JoinHandle<Result<()>>,
    }

    impl Network {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sidus-lab-{name}-{}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(&path).unwrap();
            Self { path, switch: std::thread::spawn(move || switch(&listener, SOON)) }
        }

        fn machine(&self) -> UnixStream {
            let stream = UnixStream::connect(&self.path).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream
        }
    }

    impl Drop for Network {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// From station `from` to station `to`; 255 are all.
    fn frame(to: u8, from: u8, payload: &[u8]) -> Vec<u8> {
        let mac = |last: u8| if last == 255 { [255; 6] } else { [2, 0, 0, 0, 0, last] };
        let length = u32::try_from(12 + payload.len()).unwrap().to_be_bytes();
        [&length[..], &mac(to), &mac(from), payload].concat()
    }

    fn takes(mut machine: &UnixStream, expected: &[u8]) {
        let mut got = vec![0; expected.len()];
        machine.read_exact(&mut got).unwrap();
        assert!(got == expected);
    }

    #[test]
    fn a_frame_comes_where_its_station_is_and_nowhere_else() {
        let network = Network::new("stations");
        let [mut one, mut two, mut three] = [(); 3].map(|()| network.machine());
        for (machine, number) in [(&mut one, 1), (&mut two, 2), (&mut three, 3)] {
            // Nobody is known at first.
            machine.write_all(&frame(255, number, b"here")).unwrap();
        }
        for (machine, others) in [(&one, [2, 3]), (&two, [1, 3]), (&three, [1, 2])] {
            let mut got = vec![0; 2 * frame(255, 1, b"here").len()];
            (&mut &*machine).read_exact(&mut got).unwrap();
            let (a, b) = (frame(255, others[0], b"here"), frame(255, others[1], b"here"));
            assert!(got == [a.clone(), b.clone()].concat() || got == [b, a].concat());
        }
        // In pieces, and two at once.
        let (first, second) = (frame(2, 1, b"a"), frame(3, 1, b"b"));
        let both = [first.clone(), second.clone()].concat();
        let (begin, end) = both.split_at(7);
        one.write_all(begin).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        one.write_all(end).unwrap();
        takes(&two, &first);
        takes(&three, &second);
        // What is not its own did not come there: the next is.
        two.write_all(&frame(3, 2, b"c")).unwrap();
        takes(&three, &frame(3, 2, b"c"));
        // A station that is gone is looked for everywhere, once that is seen.
        drop(three);
        two.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let lost = frame(3, 1, b"d");
        let found = (0..200).any(|_| {
            one.write_all(&lost).unwrap();
            two.read(&mut [0; 64]).is_ok()
        });
        assert!(found);
    }

    #[test]
    fn a_machine_that_takes_nothing_holds_nobody_up() {
        let network = Network::new("halted");
        let [mut server, halted, mut node] = [(); 3].map(|()| network.machine());
        node.write_all(&frame(255, 3, b"node")).unwrap();
        takes(&server, &frame(255, 3, b"node"));
        let large = vec![7; 60_000];
        // More than all sockets hold, to everyone.
        for _ in 0..200 {
            server.write_all(&frame(255, 1, &large)).unwrap();
            takes(&node, &frame(255, 1, &large));
        }
        node.write_all(&frame(1, 3, b"still here")).unwrap();
        takes(&server, &frame(1, 3, b"still here"));
        drop(halted);
    }

    #[test]
    fn it_ends_with_the_server_and_without_one() {
        let mut network = Network::new("end");
        let server = network.machine();
        let node = network.machine();
        drop(server);
        let handle = std::mem::replace(&mut network.switch, std::thread::spawn(|| Ok(())));
        handle.join().unwrap().unwrap();
        drop(node);
        let path = std::env::temp_dir().join(format!("sidus-lab-nobody-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let error = switch(&listener, Duration::ZERO).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(error, "no machine has connected within 0 s");
        // What is no frame ends the cable, and no more.
        let network = Network::new("garbage");
        let (server, mut node, mut bad) = (network.machine(), network.machine(), network.machine());
        bad.write_all(&[255; 64]).unwrap();
        assert_eq!(bad.read(&mut [0; 8]).unwrap(), 0);
        node.write_all(&frame(255, 2, b"x")).unwrap();
        takes(&server, &frame(255, 2, b"x"));
    }
}
