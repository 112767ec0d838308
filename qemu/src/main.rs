//! `lab`: the command behind `./qemu/lab`.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, Result};
use lexopt::{Arg, ValueExt};
use sidus_lab::paths::Paths;
use sidus_lab::server::SWITCH_VERB;
use sidus_lab::{
    bench, demo, ethernet, image, interactive, programs, test, Firmware, Kernel, Lab, NodeBuilder, Server, Suite,
};

const HELP: &str = "\
./qemu/lab VERB [OPTIONS]: a server and diskless nodes in QEMU

  build                 the static programs; prints in which folder they are
  server                builds what is missing, starts the server (where it has booted before: from its state then)
  stop                  ends the server
  run COMMAND           runs a command on the server
  node N [OPTIONS]      boots node N (20 to 219) and shows its console until it is off
     --cmdline WORDS    what follows the standard part of the kernel's command line
     --exec COMMAND     instead of showing the console, runs a command, prints its output, ends with its status
     --kernel cloud|generic    --suite bookworm|trixie    --pxe    --uefi    --memory MIB    --limit SECONDS
     --interactive      hands the console over
  demo [--interactive]  all of it from nothing, shown step by step
  test [NAME…] [--readme]
                        all tests, or those in tests/NAME.rs and those whose names contain NAME; of
                        faults, each for as long as may be;
                        --readme: what the faults came to, into the README
  bench [--rounds N] [--readme]
                        rootaufs against a shell script and overlayroot, N boots of each (5); --readme: into the README
  bench publish [--rounds N] [--readme]
                        sidus publish against a bare rsync, N of each (5)
  bench switch [--rounds N] [--readme]
                        rootaufs switch against a reboot by PXE, N of each (5)
  help

  --mirror ADDRESS      where Debian's packages come from, instead of from where apt takes them
Everything is kept under target/lab: rm -rf it to start from nothing.
";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let options = Options::parse(lexopt::Parser::from_env())?;
    let paths = Paths::open()?;
    let server = Server::at(&paths);
    let mirror = options.mirror.as_deref();
    match options.verb.as_str() {
        "" | "help" => print!("{HELP}"),
        "build" => {
            let folder = programs::build(&paths)?;
            programs::build_server(&paths)?;
            println!("{}", folder.display());
        }
        "server" => {
            image::build_all(&paths, mirror)?;
            server.start()?;
        }
        "stop" => server.stop()?,
        SWITCH_VERB => {
            let listener = UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
            ethernet::switch(&listener, Duration::from_secs(60))?;
        }
        "run" => {
            Lab::open()?;
            let output = server.shell().run(&options.words.join(" "), options.limit)?;
            print!("{}", output.text);
            return Ok(status(output.status));
        }
        "node" => return node(&options),
        "demo" => demo::run(&paths, mirror, options.interactive)?,
        "bench" => {
            let run = match options.words.as_slice() {
                [] => bench::run,
                [what] if what == "publish" => bench::publish::run,
                [what] if what == "switch" => bench::switch::run,
                _ => bail!("lab bench: expected nothing, publish or switch"),
            };
            run(&paths, mirror, options.rounds, options.readme)?;
        }
        "test" => {
            let count = test::run(&paths, mirror, &options.words, options.readme);
            println!("\n{} passed, {} failed", count.passed, count.failed);
            return Ok(if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        verb => bail!("no verb {verb:?}: see ./qemu/lab help"),
    }
    Ok(ExitCode::SUCCESS)
}

fn node(options: &Options) -> Result<ExitCode> {
    let [number] = options.words.as_slice() else { bail!("lab node: expected one number, from 20 to 219") };
    let Ok(number) = number.parse() else { bail!("node {number:?}: expected a number from 20 to 219") };
    let lab = Lab::open()?;
    if options.pxe.is_some() && options.cmdline.is_none() && (options.kernel.is_some() || options.suite.is_some()) {
        bail!("lab node: by PXE without --cmdline, the server's entry says which kernel and tree: --kernel and --suite mean nothing");
    }
    let mut node = options.apply(lab.node(number).scenario("lab")).boot()?;
    if options.interactive {
        interactive::hand_over(&mut node)?;
    } else if let Some(command) = &options.exec {
        let output = node.output(command, options.limit)?;
        print!("{}", output.text);
        return Ok(status(output.status));
    } else {
        interactive::show_until_end(&mut node, &format!("node{number}"), options.limit)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn status(status: i32) -> ExitCode {
    u8::try_from(status).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// The command line.
struct Options {
    verb: String,
    words: Vec<String>,
    mirror: Option<String>,
    cmdline: Option<String>,
    exec: Option<String>,
    kernel: Option<Kernel>,
    suite: Option<Suite>,
    pxe: Option<Firmware>,
    memory_mb: u32,
    limit: Duration,
    interactive: bool,
    rounds: usize,
    readme: bool,
}

impl Options {
    fn parse(mut parser: lexopt::Parser) -> Result<Self> {
        let mut options = Self {
            verb: String::new(),
            words: Vec::new(),
            mirror: None,
            cmdline: None,
            exec: None,
            kernel: None,
            suite: None,
            pxe: None,
            memory_mb: 1024,
            limit: Duration::from_secs(600),
            interactive: false,
            rounds: 5,
            readme: false,
        };
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Value(word) if options.verb.is_empty() => options.verb = word.string()?,
                Arg::Value(word) => options.words.push(word.string()?),
                Arg::Short('h') | Arg::Long("help") => options.verb = "help".to_owned(),
                Arg::Long("mirror") => options.mirror = Some(parser.value()?.string()?),
                Arg::Long("cmdline") => options.cmdline = Some(parser.value()?.string()?),
                Arg::Long("exec") => options.exec = Some(parser.value()?.string()?),
                Arg::Long("kernel") => options.kernel = Some(parser.value()?.string()?.parse()?),
                Arg::Long("suite") => options.suite = Some(parser.value()?.string()?.parse()?),
                Arg::Long("pxe") => options.pxe = options.pxe.or(Some(Firmware::Bios)),
                Arg::Long("uefi") => options.pxe = Some(Firmware::Uefi),
                Arg::Long("memory") => options.memory_mb = parser.value()?.parse()?,
                Arg::Long("limit") => options.limit = Duration::from_secs(parser.value()?.parse()?),
                Arg::Long("interactive") => options.interactive = true,
                Arg::Long("rounds") => options.rounds = parser.value()?.parse()?,
                Arg::Long("readme") => options.readme = true,
                _ => return Err(argument.unexpected().into()),
            }
        }
        Ok(options)
    }

    fn apply(&self, mut node: NodeBuilder) -> NodeBuilder {
        node = node.suite(self.suite.unwrap_or(Suite::Bookworm)).kernel(self.kernel.unwrap_or(Kernel::Cloud));
        node = node.memory_mb(self.memory_mb);
        if let Some(firmware) = self.pxe {
            node = node.pxe(firmware);
        }
        if let Some(cmdline) = &self.cmdline {
            node = node.cmdline(cmdline);
        }
        node
    }
}
