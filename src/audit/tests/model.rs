//! A disk that remembers what was asked of it, and of which any crash can be acted out.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use super::super::scan::{Survey, Wanted, survey};
use super::super::storage::{Files, Storage};

const SECTOR: usize = 512;

#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Create(String),
    Append(String, Vec<u8>),
    Sync(String),
    /// Not asked of the disk: somebody was told that everything up to here is on it.
    Acked(u64),
}

/// Which call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// An append, after this many of its bytes.
    Append(usize),
    Sync,
    /// The question how much is free.
    Free,
}

#[derive(Default)]
pub struct World {
    /// What a read shows.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What the disk has of a file where that is less: a sync of it failed, and what is missing counts as written.
    under: BTreeMap<String, Vec<u8>>,
    pub ops: Vec<Op>,
    pub fault: Option<Fault>,
    /// How much is free; as much as anybody wants where it is not said.
    pub free: Option<u64>,
}

#[derive(Clone, Default)]
pub struct Model(pub Arc<Mutex<World>>);

impl Model {
    pub fn with(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self(Arc::new(Mutex::new(World { files, ..World::default() })))
    }

    /// A disk with nothing but the first file of a log on it.
    pub fn of(bytes: &[u8]) -> Self {
        Self::with(BTreeMap::from([(super::storage::file_name(0), bytes.to_vec())]))
    }

    /// A disk on which a sync of the first file failed: that much of it is there, and all of it is read.
    pub fn after_a_failed_sync(read: &[u8], there: &[u8]) -> Self {
        let model = Self::of(read);
        let under = BTreeMap::from([(super::storage::file_name(0), there.to_vec())]);
        model.0.lock().unwrap().under = under;
        model
    }

    /// What a power cut leaves of the only file where every sync since the failed one succeeded.
    pub fn cut_off(&self) -> Vec<u8> {
        let world = self.0.lock().unwrap();
        world.under.values().next().or_else(|| world.files.values().next()).cloned().unwrap_or_default()
    }

    pub fn acked(&self, seq: u64) {
        self.0.lock().unwrap().ops.push(Op::Acked(seq));
    }

    pub fn ops(&self) -> Vec<Op> {
        self.0.lock().unwrap().ops.clone()
    }

    pub fn break_at(&self, fault: Fault) {
        self.0.lock().unwrap().fault = Some(fault);
    }

    /// The bytes of the only file.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().files.values().next().cloned().unwrap_or_default()
    }

    pub fn survey(&self) -> Survey {
        survey(self, Wanted::default()).unwrap_or_else(|error| panic!("{error:?}"))
    }
}

impl Files for Model {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().files.keys().cloned().collect())
    }

    fn pruned(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn read(&self, name: &str) -> io::Result<(Box<dyn Read + '_>, u64)> {
        let bytes = self.0.lock().unwrap().files[name].clone();
        let length = bytes.len() as u64;
        Ok((Box::new(io::Cursor::new(bytes)), length))
    }
}

impl Storage for Model {
    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut world = self.0.lock().unwrap();
        assert!(world.files.insert(name.into(), Vec::new()).is_none());
        world.ops.push(Op::Create(name.into()));
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.0.lock().unwrap();
        let (taken, result) = match world.fault {
            Some(Fault::Append(taken)) => (taken, Err(io::ErrorKind::StorageFull.into())),
            _ => (bytes.len(), Ok(())),
        };
        world.ops.push(Op::Append(name.into(), bytes[..taken].to_vec()));
        let World { files, under, .. } = &mut *world;
        let file = files.get_mut(name).unwrap();
        if let Some(under) = under.get_mut(name) {
            under.resize(file.len(), 0);
            under.extend_from_slice(&bytes[..taken]);
        }
        file.extend_from_slice(&bytes[..taken]);
        result
    }

    fn still_there(&self, _: &str, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        let world = self.0.lock().unwrap();
        match world.fault {
            Some(Fault::Free) => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(world.free.unwrap_or(u64::MAX)),
        }
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut world = self.0.lock().unwrap();
        world.ops.push(Op::Sync(name.into()));
        match world.fault {
            Some(Fault::Sync) => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        }
    }

    fn settle(&mut self) -> io::Result<()> {
        let mut world = self.0.lock().unwrap();
        let there = std::mem::take(&mut world.under);
        world.files.extend(there);
        Ok(())
    }
}

/// What a crash can find on the disk.
pub struct Before {
    pub durable: Vec<u8>,
    pub pending: Vec<u8>,
    pub acked: Option<u64>,
}

/// The state before each step of `ops` and after the last one, on top of what was there.
pub fn moments(there: &[u8], ops: &[Op]) -> Vec<Before> {
    let (mut durable, mut pending, mut acked) = (there.to_vec(), Vec::new(), None);
    let mut moments = Vec::new();
    for op in ops {
        match op {
            Op::Create(_) => {}
            Op::Append(_, bytes) => pending.extend_from_slice(bytes),
            Op::Sync(_) => durable.append(&mut pending),
            Op::Acked(seq) => acked = Some(*seq),
        }
        moments.push(Before { durable: durable.clone(), pending: pending.clone(), acked });
    }
    moments
}

impl Before {
    /// What can be on the disk after a power cut: every `step`th length of what was not synced, and every subset
    /// of its sectors with zeros in between.
    pub fn crashes(&self, step: usize) -> Vec<Vec<u8>> {
        let mut images: Vec<Vec<u8>> = (0..=self.pending.len())
            .step_by(step)
            .map(|length| [&self.durable, &self.pending[..length]].concat())
            .collect();
        images.push([&self.durable[..], &self.pending].concat());
        let whole = [&self.durable[..], &self.pending].concat();
        let first = self.durable.len() / SECTOR;
        let sectors = whole.len().div_ceil(SECTOR) - first;
        assert!(sectors <= 12, "{sectors} sectors are too many for this");
        for lost in 1u32..1 << sectors {
            let mut image = whole.clone();
            for sector in (0..sectors).filter(|sector| lost & (1 << sector) != 0) {
                let begin = ((first + sector) * SECTOR).max(self.durable.len());
                let end = ((first + sector + 1) * SECTOR).min(whole.len());
                if begin < end {
                    image[begin..end].fill(0);
                }
            }
            images.push(image);
        }
        images
    }
}
