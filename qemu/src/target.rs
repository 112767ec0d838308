//! iSCSI targets on the server, each with one LUN in a sparse file: by tgt on port 3260, or by the kernel's own (LIO) on
//! a port of the scenario's choice, so that scenarios do not meet.

use std::time::Duration;

use anyhow::{bail, Result};

use crate::address::{address, mac};
use crate::lab::Lab;
use crate::server::Server;
use crate::suite::Suite;

/// Where the targets are found.
pub const PORTAL: &str = "10.13.20.14";

/// The name of the target that bears node `number`'s address.
pub fn iqn(number: u8) -> String {
    format!("iqn.2013-04.zone.sidus.target:{}", address(number))
}

/// The name that node `number` logs in with, unless told otherwise.
pub fn initiator(number: u8) -> String {
    format!("iqn.2026-01.io.sidus:node-{}", mac(number).replace(':', ""))
}

/// What is on a LUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Blank,
    /// A file system on the whole disk: mkfs's name, label.
    Whole(&'static str, &'static str),
    /// A file system in the second partition: sfdisk's name of the table, mkfs's name, label.
    Partition(&'static str, &'static str, &'static str),
}

/// A CHAP account: name and secret.
pub type Account = (&'static str, &'static str);

/// A target that is to be.
#[derive(Debug, Clone)]
pub struct Target {
    server: Server,
    number: u8,
    content: Content,
    chap: Option<Account>,
    mutual: Option<Account>,
}

impl Target {
    /// The target that bears node `number`'s address, with an ext4 labelled ISCSI.
    pub fn new(lab: &Lab, number: u8) -> Self {
        let server = lab.server().clone();
        Self { server, number, content: Content::Whole("ext4", "ISCSI"), chap: None, mutual: None }
    }

    /// With this on its LUN.
    pub fn content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    /// The node has to prove itself.
    pub fn chap(mut self, account: Account) -> Self {
        self.chap = Some(account);
        self
    }

    /// The target proves itself as well.
    pub fn mutual(mut self, account: Account) -> Self {
        self.mutual = Some(account);
        self
    }

    /// Makes the image, for [`Target::serve_by_lio`] later; another scenario's of that number is gone.
    pub fn make_image(&self) -> Result<()> {
        let image = self.image();
        let fs = |name: &str, label: &str| {
            let force = if name == "ext4" { "-F" } else { "-f" };
            format!("mkfs.{name} -q {force} -L {label}")
        };
        let fill = match self.content {
            Content::Blank => String::new(),
            Content::Whole(name, label) => format!("{} {image}", fs(name, label)),
            // mkfs knows no partition of a file: a loop device begins where it does.
            Content::Partition(table, name, label) => format!(
                "printf 'label: {table}\\nstart=2048, size=2048\\nstart=8192, size=778240\\n' | sfdisk -q {image} && \
                 loop=$(losetup --find --show --offset 4194304 --sizelimit 398458880 {image}) && {} $loop && losetup --detach $loop",
                fs(name, label)
            ),
        };
        self.server.run(&format!("set -e; mkdir -p /srv/luns; rm -f {image}; truncate -s 400M {image}; {fill}"))?;
        Ok(())
    }

    /// Makes the image and serves it by tgt: a target for whoever comes.
    pub fn by_tgt(self) -> Result<Self> {
        self.make_image()?;
        let (tid, iqn, image) = (self.number, iqn(self.number), self.image());
        let admin = "tgtadm --lld iscsi";
        let account = |account: Option<Account>, outgoing: &str| {
            account.map_or(String::new(), |(name, secret)| {
                format!(
                    "{admin} --op delete --mode account --user {name} 2>/dev/null || true
                     {admin} --op new --mode account --user {name} --password {secret}
                     {admin} --op bind --mode account --tid {tid} --user {name} {outgoing}\n"
                )
            })
        };
        let (chap, mutual) = (account(self.chap, ""), account(self.mutual, "--outgoing"));
        self.server.run(&format!(
            "set -e; systemctl start tgt
             {admin} --op delete --mode target --tid {tid} --force 2>/dev/null || true
             {admin} --op new --mode target --tid {tid} -T {iqn}
             {admin} --op new --mode logicalunit --tid {tid} --lun 1 -b {image}
             {admin} --op bind --mode target --tid {tid} -I ALL
             {chap}{mutual}"
        ))?;
        Ok(self)
    }

    /// A second LUN of tgt's target, with an ext4 labelled SECOND.
    pub fn second_lun_by_tgt(&self) -> Result<()> {
        let image = format!("/srv/luns/{}-second.img", self.number);
        self.server.run(&format!(
            "set -e; rm -f {image}; truncate -s 200M {image}; mkfs.ext4 -q -F -L SECOND {image}
             tgtadm --lld iscsi --op new --mode logicalunit --tid {} --lun 2 -b {image}",
            self.number
        ))?;
        Ok(())
    }

    /// Has tgt send whoever logs in elsewhere, for now: tgtadm(8).
    pub fn redirect_tgt(&self, address: &str, port: u16) -> Result<()> {
        self.redirect(&format!("tgtadm --lld iscsi --tid {}", self.number), address, port)
    }

    fn redirect(&self, admin: &str, address: &str, port: u16) -> Result<()> {
        let update = format!("{admin} --op update --mode target");
        self.server.run(&format!(
            "set -e; {update} --name RedirectAddress --value {address}; {update} --name RedirectPort --value {port}
             {update} --name RedirectReason --value Temporary"
        ))?;
        Ok(())
    }

    /// Makes the image and serves it by the kernel on this port, to the node alone.
    pub fn by_lio(self, port: u16) -> Result<Self> {
        self.make_image()?;
        self.serve_by_lio(port, &initiator(self.number))?;
        Ok(self)
    }

    /// Serves the image by the kernel on this port, to one initiator alone. See the kernel's
    /// `Documentation/target/tcm_mod_builder.rst` and `drivers/target/iscsi/iscsi_target_configfs.c`.
    pub fn serve_by_lio(&self, port: u16, initiator: &str) -> Result<()> {
        self.remove_from_lio()?;
        let (iqn, image, number) = (iqn(self.number), self.image(), self.number);
        let auth = |account: Option<Account>, suffix: &str| {
            account.map_or(String::new(), |(name, secret)| {
                format!("printf %s {name} >auth/userid{suffix}; printf %s {secret} >auth/password{suffix}\n")
            })
        };
        let (chap, mutual) = (auth(self.chap, ""), auth(self.mutual, "_mutual"));
        let wanted = u8::from(self.chap.is_some());
        self.server.run(&format!(
            "set -e; modprobe -a target_core_mod target_core_file iscsi_target_mod
             cd /sys/kernel/config/target; mkdir -p iscsi core/fileio_0/lun{number}
             echo fd_dev_name={image},fd_dev_size=$(stat -L -c %s {image}) >core/fileio_0/lun{number}/control
             echo 1 >core/fileio_0/lun{number}/enable
             mkdir -p iscsi/{iqn}/tpgt_1; cd iscsi/{iqn}/tpgt_1
             mkdir lun/lun_0; ln -s /sys/kernel/config/target/core/fileio_0/lun{number} lun/lun_0/image
             echo {wanted} >attrib/authentication; echo 0 >attrib/generate_node_acls
             mkdir acls/{initiator} acls/{initiator}/lun_0
             ln -s /sys/kernel/config/target/iscsi/{iqn}/tpgt_1/lun/lun_0 acls/{initiator}/lun_0/image
             cd acls/{initiator}; {chap}{mutual}
             cd ../..; mkdir np/{PORTAL}:{port}; echo 1 >enable"
        ))?;
        Ok(())
    }

    /// Lets another initiator at the kernel's target.
    pub fn let_in_by_lio(&self, initiator: &str) -> Result<()> {
        let iqn = iqn(self.number);
        self.server.run(&format!(
            "set -e; cd /sys/kernel/config/target/iscsi/{iqn}/tpgt_1; mkdir acls/{initiator} acls/{initiator}/lun_0
             ln -s /sys/kernel/config/target/iscsi/{iqn}/tpgt_1/lun/lun_0 acls/{initiator}/lun_0/image"
        ))?;
        Ok(())
    }

    /// Has the kernel's target know no persistent reservations, or know them.
    pub fn set_reservations_by_lio(&self, on: bool) -> Result<()> {
        let attribute = format!("/sys/kernel/config/target/core/fileio_0/lun{}/attrib/emulate_pr", self.number);
        self.server.run(&format!("echo {} >{attribute}", u8::from(on))).map(drop)
    }

    /// Ends the kernel's target: nobody listens on its port then.
    pub fn remove_from_lio(&self) -> Result<()> {
        let (iqn, number) = (iqn(self.number), self.number);
        self.server.run(&format!(
            "cd /sys/kernel/config/target 2>/dev/null || exit 0
             if cd iscsi/{iqn}/tpgt_1 2>/dev/null; then
                 echo 0 >enable; rmdir np/*; rm -f acls/*/lun_0/image; rmdir acls/*/lun_0 acls/*
                 rm -f lun/lun_0/image; rmdir lun/lun_0; cd ../..; rmdir {iqn}/tpgt_1 {iqn}; cd ..
             fi
             if [ -d core/fileio_0/lun{number} ]; then rmdir core/fileio_0/lun{number}; fi"
        ))?;
        Ok(())
    }

    /// Serves the image by a tgtd of its own on this port, which [`Target::kill_own_tgtd`] ends.
    pub fn serve_by_own_tgtd(&self, port: u16) -> Result<()> {
        self.serve_by_own_tgtd_at(&format!("{PORTAL}:{port}"))
    }

    /// As [`Target::serve_by_own_tgtd`], at a portal whose address the server need not keep.
    pub fn serve_by_own_tgtd_at(&self, portal: &str) -> Result<()> {
        self.serve_by_tgtd(self.number, portal)
    }

    fn serve_by_tgtd(&self, number: u8, portal: &str) -> Result<()> {
        let (iqn, image) = (iqn(self.number), self.image());
        let admin = format!("tgtadm -C {number} --lld iscsi");
        self.server.run(&format!(
            "set -e; setsid tgtd -f -C {number} --iscsi portal={portal} </dev/null >/run/tgtd.{number}.log 2>&1 &
             echo $! >/run/tgtd.{number}
             tries=0; until {admin} --op show --mode sys >/dev/null 2>&1; do
                 tries=$((tries + 1)); [ $tries -lt 200 ] || {{ cat /run/tgtd.{number}.log; exit 1; }}; sleep 0.1
             done
             {admin} --op new --mode target --tid 1 -T {iqn}
             {admin} --op new --mode logicalunit --tid 1 --lun 1 -b {image}
             {admin} --op bind --mode target --tid 1 -I ALL"
        ))?;
        Ok(())
    }

    /// Has that tgtd send whoever logs in to another one, which serves the same LUN on this port; [`Target::kill_tgtd`] ends
    /// that by its `control` number.
    pub fn redirect_own_tgtd(&self, control: u8, port: u16) -> Result<()> {
        self.serve_by_tgtd(control, &format!("{PORTAL}:{port}"))?;
        self.redirect(&format!("tgtadm -C {} --lld iscsi --tid 1", self.number), PORTAL, port)
    }

    /// Kills the tgtd with this control number.
    pub fn kill_tgtd(&self, control: u8) -> Result<()> {
        let pid = format!("/run/tgtd.{control}");
        self.server
            .run(&format!("kill -9 $(cat {pid}); while kill -0 $(cat {pid}) 2>/dev/null; do sleep 0.05; done"))?;
        Ok(())
    }

    /// Kills that tgtd: it has no time to say goodbye.
    pub fn kill_own_tgtd(&self) -> Result<()> {
        self.kill_tgtd(self.number)
    }

    /// What the file `path` of the node's root has, as it is on the LUN (ext4 on the whole disk); nobody may have it
    /// mounted.
    pub fn file_on_image(&self, path: &str) -> Result<String> {
        self.run_on_image(&format!(
            "set -e; at=/run/lun{}; mkdir -p $at; mount -o loop,ro $image $at
             cat $at/sidus/v1/upper{path} || true; umount $at",
            self.number
        ))
    }

    /// Runs `command` on the server with the image's path in `$image`.
    pub fn run_on_image(&self, command: &str) -> Result<String> {
        self.server.run(&format!("image={}; {command}", self.image()))
    }

    /// Runs `script` in the root that a node with this tree will have: the image's layer (ext4 on the whole disk) over it.
    /// A node that boots from it then finds what was changed.
    pub fn change_layer(&self, suite: Suite, script: &str) -> Result<()> {
        let (at, image, tree) = (format!("/run/layer{}", self.number), self.image(), suite.export());
        let layer = format!("{at}/lun/sidus/v1");
        let options = "index=off,metacopy=off,redirect_dir=off,xino=off";
        let command = format!(
            "set -e; mkdir -p {at}/lun {at}/root; mount -o loop {image} {at}/lun; umask 77
             mkdir -p {layer}/upper {layer}/work; chmod 755 {layer}/upper; umask 22
             mount -t overlay -o lowerdir={tree},upperdir={layer}/upper,workdir={layer}/work,{options} overlay {at}/root
             mount --bind /dev {at}/root/dev; mount -t proc proc {at}/root/proc
             chroot {at}/root /bin/sh -eu <<'END'\n{script}\nEND\n
             umount {at}/root/proc {at}/root/dev {at}/root {at}/lun"
        );
        let output = self.server.shell().run(&command, Duration::from_secs(900))?;
        match output.status {
            0 => Ok(()),
            status => bail!("the layer cannot be changed (status {status}):\n{}", output.text),
        }
    }

    fn image(&self) -> String {
        format!("/srv/luns/{}.img", self.number)
    }
}
