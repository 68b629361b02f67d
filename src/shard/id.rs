//! Names of cores and connections. A connection's name has a generation, so that it can't address a
//! successor in the same slot.

/// One shard's number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u16);

impl CoreId {
    pub fn idx(self) -> usize {
        usize::from(self.0)
    }
}

/// A connection on its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    pub slot: u32,
    pub generation: u32,
}

/// Values by slot, each slot with the generation of who is in it.
#[derive(Debug)]
pub struct Slots<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub fn insert(&mut self, value: T) -> ConnectionId {
        if let Some(slot) = self.free.pop() {
            let (generation, place) = &mut self.slots[slot as usize];
            *place = Some(value);
            return ConnectionId { slot, generation: *generation };
        }
        let slot =
            u32::try_from(self.slots.len()).expect("four thousand million connections don't fit a host");
        self.slots.push((0, Some(value)));
        ConnectionId { slot, generation: 0 }
    }

    #[inline]
    pub fn get(&self, id: ConnectionId) -> Option<&T> {
        let (generation, value) = self.slots.get(id.slot as usize)?;
        value.as_ref().filter(|_| *generation == id.generation)
    }

    #[inline]
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        let (generation, value) = self.slots.get_mut(id.slot as usize)?;
        value.as_mut().filter(|_| *generation == id.generation)
    }

    pub fn remove(&mut self, id: ConnectionId) -> Option<T> {
        let (generation, value) = self.slots.get_mut(id.slot as usize)?;
        if *generation != id.generation {
            return None;
        }
        let removed = value.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(id.slot);
        Some(removed)
    }

    /// Puts another value in the place of one; false where there is none.
    pub fn replace_with(&mut self, id: ConnectionId, change: impl FnOnce(T) -> T) -> bool {
        let Some((_, value)) = self.slots.get_mut(id.slot as usize).filter(|it| it.0 == id.generation) else {
            return false;
        };
        *value = value.take().map(change);
        value.is_some()
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = (ConnectionId, &T)> {
        self.range(0, self.slots.len())
    }

    /// Those in `n_max` slots from `from` on.
    pub fn range(&self, from: usize, n_max: usize) -> impl Iterator<Item = (ConnectionId, &T)> {
        self.slots.iter().enumerate().skip(from).take(n_max).filter_map(|(slot, (generation, value))| {
            let id = ConnectionId { slot: slot as u32, generation: *generation };
            value.as_ref().map(|value| (id, value))
        })
    }

    /// Slots, the free ones among them.
    pub fn n_places(&self) -> usize {
        self.slots.len()
    }

    pub fn ids(&self) -> Vec<ConnectionId> {
        self.iter().map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_address_its_successor() {
        let mut slots = Slots::default();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert_eq!(second.slot, first.slot);
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&'b'));
        assert_eq!(slots.len(), 1);
    }
}
