//! The changing part of a game, a few kilobytes at most: what lies where, and what was done to it.

use super::game::Set;

/// A state of a game.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Three tables of sets of objects, one after the other: what each receptacle holds, what is at
    /// each place, and what was taken out of each receptacle and not put back. The last two differ
    /// from what the first suggests: a place forgets an object only when it is taken there, and an
    /// object can lie in several receptacles at once.
    tables: Box<[Set]>,
    receptacles: u8,
    sites: u8,
    /// Where the agent stands.
    pub site: u8,
    /// What it holds.
    pub held: Option<u8>,
    /// Receptacles that are open.
    pub opened: Set,
    /// Objects that are clean.
    pub clean: Set,
    /// Objects that are hot.
    pub hot: Set,
    /// Objects that are cool.
    pub cool: Set,
    /// Objects that are sliced.
    pub sliced: Set,
    /// Objects that have been used.
    pub toggled: Set,
}

impl State {
    /// A state in which nothing lies anywhere.
    pub(super) fn new(receptacles: usize, sites: usize, site: u8) -> Self {
        Self {
            tables: vec![0; 2 * receptacles + sites].into_boxed_slice(),
            receptacles: receptacles as u8,
            sites: sites as u8,
            site,
            held: None,
            opened: 0,
            clean: 0,
            hot: 0,
            cool: 0,
            sliced: 0,
            toggled: 0,
        }
    }

    /// What a receptacle holds, seen or not.
    pub fn contents(&self, receptacle: u8) -> Set {
        self.tables[usize::from(receptacle)]
    }

    pub(super) fn contents_mut(&mut self, receptacle: u8) -> &mut Set {
        &mut self.tables[usize::from(receptacle)]
    }

    /// What is at a place, as far as slicing and the floor are concerned.
    pub fn present(&self, site: u8) -> Set {
        self.tables[usize::from(self.receptacles) + usize::from(site)]
    }

    pub(super) fn present_mut(&mut self, site: u8) -> &mut Set {
        &mut self.tables[usize::from(self.receptacles) + usize::from(site)]
    }

    /// What was taken out of a receptacle and not put back.
    pub fn removed(&self, receptacle: u8) -> Set {
        self.tables[usize::from(self.receptacles) + usize::from(self.sites) + usize::from(receptacle)]
    }

    pub(super) fn removed_mut(&mut self, receptacle: u8) -> &mut Set {
        &mut self.tables[usize::from(self.receptacles) + usize::from(self.sites) + usize::from(receptacle)]
    }

    /// The memory this state owns, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.tables)
    }
}
