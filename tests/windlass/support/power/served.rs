//! The model, served to the kernel. Nothing is cached there, so that every call comes here at once;
//! locks are the kernel's own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::model::{Body, Content, Ino, Model};

const AT_ONCE: Duration = Duration::ZERO;
const GENERATION: Generation = Generation(0);
const BLOCK: u32 = 4096;
/// More than enough for any test.
const BLOCKS: u64 = 1 << 24;

pub struct Served(pub Arc<Mutex<Model>>);

/// Answers with what was found, or with the error.
macro_rules! answer {
    ($reply:expr, $result:expr, $value:pat => $do:expr) => {
        match $result {
            Ok($value) => $do,
            Err(errno) => $reply.error(Errno::from_i32(errno.raw_os_error())),
        }
    };
}

impl Served {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file behind a handle, which knows the number of cuts before it was opened: what a dead
/// machine's process still has open leads nowhere.
fn opened(
    model: &mut Model,
    ino: INodeNo,
    handle: FileHandle,
) -> Result<&mut Content, rustix::io::Errno> {
    match handle.0 == model.cuts() {
        true => model.file(ino.0),
        false => Err(rustix::io::Errno::IO),
    }
}

fn attributes(
    request: &Request,
    model: &mut Model,
    ino: Ino,
) -> Result<FileAttr, rustix::io::Errno> {
    let node = model.node(ino)?;
    let (kind, size) = match &node.body {
        Body::File(content) => (FileType::RegularFile, content.now.len() as u64),
        Body::Dir { .. } => (FileType::Directory, u64::from(BLOCK)),
    };
    Ok(FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(512),
        atime: node.modified,
        mtime: node.modified,
        ctime: node.modified,
        crtime: node.modified,
        kind,
        perm: (node.mode & 0o7777) as u16,
        nlink: 1,
        uid: request.uid(),
        gid: request.gid(),
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    })
}

impl Filesystem for Served {
    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut model = self.model();
        let found = model.lookup(parent.0, name);
        let found = found.and_then(|ino| attributes(request, &mut model, ino));
        answer!(reply, found, attr => reply.entry(&AT_ONCE, &attr, GENERATION));
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let attr = attributes(request, &mut self.model(), ino.0);
        answer!(reply, attr, attr => reply.attr(&AT_ONCE, &attr));
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut model = self.model();
        let mut change = || {
            if let Some(size) = size {
                let handle = fh.unwrap_or(FileHandle(model.cuts()));
                opened(&mut model, ino, handle)?.resize(size as usize);
            }
            let node = model.node(ino.0)?;
            node.mode = mode.unwrap_or(node.mode);
            node.modified = match mtime {
                Some(TimeOrNow::SpecificTime(at)) => at,
                Some(TimeOrNow::Now) => SystemTime::now(),
                None => node.modified,
            };
            attributes(request, &mut model, ino.0)
        };
        answer!(reply, change(), attr => reply.attr(&AT_ONCE, &attr));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let mut model = self.model();
        let made = model.add(parent.0, name, true, mode & !umask);
        let made = made.and_then(|ino| attributes(request, &mut model, ino));
        answer!(reply, made, attr => reply.entry(&AT_ONCE, &attr, GENERATION));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mut model = self.model();
        let made = model.add(parent.0, name, false, mode & !umask);
        let made = made.and_then(|ino| attributes(request, &mut model, ino));
        let (handle, direct) = (FileHandle(model.cuts()), FopenFlags::FOPEN_DIRECT_IO);
        answer!(reply, made, attr => reply.created(&AT_ONCE, &attr, GENERATION, handle, direct));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.model().remove(parent.0, name, false), () => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.model().remove(parent.0, name, true), () => reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            // Whoever asks for these has to be able to do without.
            return reply.error(Errno::EINVAL);
        }
        let renamed = self
            .model()
            .rename((parent.0, name), (newparent.0, newname));
        answer!(reply, renamed, () => reply.ok());
    }

    fn open(&self, _: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let handle = FileHandle(self.model().cuts());
        reply.opened(handle, FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut model = self.model();
        answer!(reply, opened(&mut model, ino, fh), content => {
            let start = content.now.len().min(offset as usize);
            let end = content.now.len().min(start + size as usize);
            reply.data(&content.now[start..end]);
        });
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut model = self.model();
        let written = opened(&mut model, ino, fh)
            .map(|content| content.write(offset as usize, data))
            .and_then(|()| model.node(ino.0))
            .map(|node| node.modified = SystemTime::now());
        answer!(reply, written, () => reply.written(data.len() as u32));
    }

    fn fsync(&self, _: &Request, ino: INodeNo, fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let mut model = self.model();
        answer!(reply, opened(&mut model, ino, fh), content => {
            content.sync();
            reply.ok();
        });
    }

    fn fsyncdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        answer!(reply, self.model().sync_dir(ino.0), () => reply.ok());
    }

    fn flush(
        &self,
        _: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // A close makes nothing durable.
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut model = self.model();
        // By the inode, which no removal in between moves: a walk that deletes sees all.
        let names = model.names(ino.0).map(|names| {
            let found = names.iter().map(|(name, ino)| (*ino, name.clone()));
            let left = found.filter(|(ino, _)| *ino > offset);
            left.collect::<BTreeMap<_, _>>()
        });
        answer!(reply, names, names => {
            for (entry, name) in names {
                let kind = match model.names(entry) {
                    Ok(_) => FileType::Directory,
                    Err(_) => FileType::RegularFile,
                };
                if reply.add(INodeNo(entry), entry, kind, name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn statfs(&self, _: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCK, 255, BLOCK);
    }
}
