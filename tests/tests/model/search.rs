//! The search: breadth first, so that the first way to a broken rule is a shortest one. Afterwards it goes backwards
//! from all ends, to see that one can be reached from everywhere.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use crate::bounds::Bounds;
use crate::rules::NO_END;
use crate::shop::Shop;
use crate::world::{Model, World};

/// Worlds at most: a search that finds more has lost its bounds.
const MAX_WORLDS: usize = 4_000_000;

/// What a search saw that found nothing wrong.
pub struct Seen {
    pub worlds: usize,
    pub steps: usize,
    /// Steps to the world that is farthest away.
    pub depth: usize,
    pub ends: usize,
    /// States of each service: sagas, inventory, payment, order.
    pub services: [usize; 4],
    /// Everything that happened, one line of each kind.
    pub told: BTreeSet<String>,
    pub took: Duration,
}

/// A rule that does not hold, and a shortest way there.
pub struct Broken {
    pub rule: &'static str,
    pub way: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken: {}", self.rule)?;
        for (number, step) in self.way.iter().enumerate() {
            write!(f, "\n{:>4}  {step}", number + 1)?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Found {
    parent: u32,
    what: u16,
    depth: u16,
    is_end: bool,
}

/// Goes through everything that may happen to the order within the bounds.
pub fn explore(shop: Shop, bounds: Bounds) -> Result<Seen, Broken> {
    let started = Instant::now();
    let mut model = Model::new(shop);
    let first = model.first(bounds);
    let mut numbers: HashMap<World, u32> = HashMap::from([(first.world, 0)]);
    let mut worlds = vec![first.world];
    let mut found = vec![Found { parent: 0, what: first.what, depth: 0, is_end: false }];
    let mut steps: Vec<(u32, u32)> = Vec::new();
    let mut told = BTreeSet::from([first.what]);
    let mut here = 0;
    while here < worlds.len() {
        let world = worlds[here];
        for next in model.nexts(&world) {
            let fresh = worlds.len() as u32;
            let there = *numbers.entry(next.world).or_insert(fresh);
            if there == fresh {
                let is_end = model.sight(&next.world).is_end();
                let depth = found[here].depth + 1;
                found.push(Found { parent: here as u32, what: next.what, depth, is_end });
                worlds.push(next.world);
            }
            steps.push((here as u32, there));
            told.insert(next.what);
            if let Some(rule) = next.broken {
                let mut way = way_to(&model, &found, here);
                way.push(model.told(next.what).to_owned());
                return Err(Broken { rule, way });
            }
        }
        here += 1;
        assert!(worlds.len() <= MAX_WORLDS, "the search has lost its bounds");
    }
    if let Some(lost) = world_without_an_end(&found, &steps) {
        return Err(Broken { rule: NO_END, way: way_to(&model, &found, lost) });
    }
    Ok(Seen {
        worlds: worlds.len(),
        steps: steps.len(),
        depth: found.iter().map(|found| usize::from(found.depth)).max().unwrap_or_default(),
        ends: found.iter().filter(|found| found.is_end).count(),
        services: model.service_states(),
        told: told.into_iter().map(|what| model.told(what).to_owned()).collect(),
        took: started.elapsed(),
    })
}

fn way_to(model: &Model, found: &[Found], mut at: usize) -> Vec<String> {
    let mut way = Vec::new();
    loop {
        way.push(model.told(found[at].what).to_owned());
        if at == 0 {
            way.reverse();
            return way;
        }
        at = found[at].parent as usize;
    }
}

/// The nearest world from which no end can be reached.
fn world_without_an_end(found: &[Found], steps: &[(u32, u32)]) -> Option<usize> {
    // The steps, by where they lead: those to `n` stand from `begins[n]` to `begins[n + 1]`.
    let mut begins = vec![0_u32; found.len() + 1];
    for (_, to) in steps {
        begins[*to as usize + 1] += 1;
    }
    for n in 0..found.len() {
        begins[n + 1] += begins[n];
    }
    let mut places = begins.clone();
    let mut sources = vec![0_u32; steps.len()];
    for (from, to) in steps {
        let place = &mut places[*to as usize];
        sources[*place as usize] = *from;
        *place += 1;
    }
    let mut reaches: Vec<bool> = found.iter().map(|found| found.is_end).collect();
    let mut queue: Vec<usize> = (0..found.len()).filter(|at| reaches[*at]).collect();
    while let Some(at) = queue.pop() {
        for source in &sources[begins[at] as usize..begins[at + 1] as usize] {
            let source = *source as usize;
            if !std::mem::replace(&mut reaches[source], true) {
                queue.push(source);
            }
        }
    }
    reaches.iter().position(|reaches| !reaches)
}
