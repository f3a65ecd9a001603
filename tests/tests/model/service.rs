//! One service of the shop as the search sees it: a state, inputs, and what they lead to. The real code runs once for
//! every pair of state and input; its result is remembered, so that a world of the search is a few small numbers.

use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

use eventsourcing::Published;
use saga_orchestrator::adapters::participants::Meaning;

use crate::bounds::Chance;
use crate::case::ORDER;

/// Numbers things: equal things have equal numbers.
pub struct Numbers<T> {
    things: Vec<T>,
    numbers: HashMap<T, u16>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { things: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    pub fn number(&mut self, thing: T) -> u16 {
        if let Some(number) = self.numbers.get(&thing) {
            return *number;
        }
        let number = u16::try_from(self.things.len()).expect("the bounds keep the search small");
        self.things.push(thing.clone());
        self.numbers.insert(thing, number);
        number
    }

    pub fn get(&self, number: u16) -> &T {
        &self.things[usize::from(number)]
    }
}

/// A way that messages take. Each keeps their order, as a feed does for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    CheckoutToInventory,
    CheckoutToPayment,
    CheckoutToOrder,
    CancellationToInventory,
    CancellationToPayment,
    CancellationToOrder,
    FromInventory,
    FromPayment,
    FromOrder,
}

impl Channel {
    pub const ALL: [Self; 9] = [
        Self::CheckoutToInventory,
        Self::CheckoutToPayment,
        Self::CheckoutToOrder,
        Self::CancellationToInventory,
        Self::CancellationToPayment,
        Self::CancellationToOrder,
        Self::FromInventory,
        Self::FromPayment,
        Self::FromOrder,
    ];

    /// Whether a saga asks here, rather than being answered.
    pub fn is_request(self) -> bool {
        !matches!(self, Self::FromInventory | Self::FromPayment | Self::FromOrder)
    }
}

/// A message under way: the protobuf bytes that a service published.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    pub channel: Channel,
    /// Its type in plain words.
    pub name: String,
    pub data: Vec<u8>,
}

impl Message {
    pub fn new(channel: Channel, published: Published) -> Self {
        let name = published.event_type.rsplit('.').next().unwrap_or_default();
        Self { channel, name: words(name), data: published.data }
    }

    /// An answer to the sagas; `None` when it means nothing to those of the order.
    pub fn answer(channel: Channel, published: Published, meaning: fn(&[u8]) -> Meaning) -> Option<Self> {
        let (order_id, _) = meaning(&published.data).expect("services publish what sagas understand")?;
        (order_id.0 == ORDER).then(|| Self::new(channel, published))
    }
}

/// `StockReserved` as `stock reserved`.
pub fn words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// What was appended, in plain words, with the lines of an order told once.
pub fn in_words(events: &crate::log::Events) -> String {
    let mut told: Vec<String> = Vec::new();
    for (_, event) in events {
        let event = words(&event.event_type);
        if !told.contains(&event) {
            told.push(event);
        }
    }
    if told.is_empty() { "nothing happens".to_owned() } else { told.join(", ") }
}

/// What an input may lead to.
pub struct Turn<S> {
    pub state: S,
    /// One line for people.
    pub what: String,
    pub messages: Vec<Message>,
    /// What of the bounds it uses up.
    pub costs: Vec<Chance>,
    /// A rule that it breaks by itself.
    pub broken: Option<&'static str>,
}

impl<S> Turn<S> {
    pub fn new(state: S, what: String, messages: Vec<Message>) -> Self {
        Self { state, what, messages, costs: Vec::new(), broken: None }
    }
}

pub trait Service {
    type State;
    type Input: Clone + Eq + Hash;
    /// What the rules of the search need to know of a state.
    type Facts: Copy;

    /// Everything that may come of an input. None: it cannot come, or changes nothing.
    fn turns(
        &self,
        state: &Self::State,
        input: &Self::Input,
        messages: &Numbers<Message>,
    ) -> Vec<Turn<Self::State>>;

    /// A text that is equal for equal states.
    fn identity(&self, state: &Self::State) -> String;

    fn facts(&self, state: &Self::State) -> Self::Facts;
}

/// A turn with everything in it numbered.
pub struct Known {
    pub state: u16,
    pub what: u16,
    pub messages: Vec<(Channel, u16)>,
    pub costs: Vec<Chance>,
    pub broken: Option<&'static str>,
}

/// A service with all that was found out about it.
pub struct Explored<S: Service> {
    service: S,
    states: Vec<(S::State, S::Facts)>,
    numbers: HashMap<String, u16>,
    known: HashMap<(u16, S::Input), Rc<[Known]>>,
}

impl<S: Service> Explored<S> {
    pub fn new(service: S) -> Self {
        Self { service, states: Vec::new(), numbers: HashMap::new(), known: HashMap::new() }
    }

    pub fn number(&mut self, state: S::State) -> u16 {
        let identity = self.service.identity(&state);
        if let Some(number) = self.numbers.get(&identity) {
            return *number;
        }
        let number = u16::try_from(self.states.len()).expect("the bounds keep the search small");
        let facts = self.service.facts(&state);
        self.states.push((state, facts));
        self.numbers.insert(identity, number);
        number
    }

    pub fn facts(&self, state: u16) -> S::Facts {
        self.states[usize::from(state)].1
    }

    /// How many states of this service there are.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    pub fn turns(
        &mut self,
        state: u16,
        input: S::Input,
        messages: &mut Numbers<Message>,
        told: &mut Numbers<String>,
    ) -> Rc<[Known]> {
        let key = (state, input);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let turns = self.service.turns(&self.states[usize::from(state)].0, &key.1, messages);
        let known: Rc<[Known]> = turns
            .into_iter()
            .map(|turn| Known {
                state: self.number(turn.state),
                what: told.number(turn.what),
                messages: turn.messages.into_iter().map(|m| (m.channel, messages.number(m))).collect(),
                costs: turn.costs,
                broken: turn.broken,
            })
            .collect();
        self.known.insert(key, known.clone());
        known
    }
}
