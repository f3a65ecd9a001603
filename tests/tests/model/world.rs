//! The order and everything around it at one moment, as a handful of numbers, and all that may happen next: services
//! work, messages arrive, time passes, people act, and every now and then something fails.

use saga_orchestrator::domain::Kind;

use crate::bounds::{Bounds, Chance};
use crate::case::total;
use crate::inventory::{self, Inventory};
use crate::log::Delivery;
use crate::orders::{self, Orders};
use crate::payments::{self, Payments};
use crate::rules::{RULES, Sight};
use crate::sagas::{self, Sagas};
use crate::service::{Channel, Explored, Message, Numbers, Service};
use crate::shop::Shop;

/// A moment. All but the bounds are numbers of something that the model knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct World {
    sagas: u16,
    inventory: u16,
    payments: u16,
    orders: u16,
    queues: [u16; Channel::ALL.len()],
    again: u16,
    hour: u8,
    left: Bounds,
}

/// Something that will be delivered once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Again {
    Message { channel: Channel, message: u16, ticket: u8 },
    Booking { ticket: u8 },
}

/// What may come of a moment.
pub struct Next {
    pub what: u16,
    pub world: World,
    /// A rule that is broken there.
    pub broken: Option<&'static str>,
}

/// The shop, and all that was found out about its services so far.
pub struct Model {
    shop: Shop,
    sagas: Explored<Sagas>,
    inventory: Explored<Inventory>,
    payments: Explored<Payments>,
    orders: Explored<Orders>,
    shared: Shared,
}

#[derive(Default)]
struct Shared {
    messages: Numbers<Message>,
    told: Numbers<String>,
    queues: Numbers<Vec<u16>>,
    agains: Numbers<Vec<Again>>,
}

impl Model {
    pub fn new(shop: Shop) -> Self {
        Self {
            shop,
            sagas: Explored::new(Sagas { shop }),
            inventory: Explored::new(Inventory { shop }),
            payments: Explored::new(Payments::new(shop)),
            orders: Explored::new(Orders { shop }),
            shared: Shared::default(),
        }
    }

    /// The order has been placed, and nobody knows yet.
    pub fn first(&mut self, bounds: Bounds) -> Next {
        let placed = Orders { shop: self.shop }.place();
        let empty = self.shared.queues.number(Vec::new());
        let mut world = World {
            sagas: self.sagas.number(sagas::State::default()),
            inventory: self.inventory.number(Inventory::first()),
            payments: self.payments.number(payments::State::default()),
            orders: self.orders.number(placed.state),
            queues: [empty; Channel::ALL.len()],
            again: self.shared.agains.number(Vec::new()),
            hour: 0,
            left: bounds,
        };
        for message in placed.messages {
            let (channel, number) = (message.channel, self.shared.messages.number(message));
            self.shared.send(&mut world, channel, number);
        }
        Next { what: self.shared.told.number(placed.what), world, broken: None }
    }

    /// The line that tells of a step.
    pub fn told(&self, what: u16) -> &str {
        self.shared.told.get(what)
    }

    /// How many states of each service were seen: sagas, inventory, payment, order.
    pub fn service_states(&self) -> [usize; 4] {
        [self.sagas.len(), self.inventory.len(), self.payments.len(), self.orders.len()]
    }

    pub fn sight(&self, world: &World) -> Sight {
        let payments = self.payments.facts(world.payments);
        let sagas = self.sagas.facts(world.sagas);
        let silent = world.queues.iter().all(|queue| self.shared.queues.get(*queue).is_empty());
        let idle = payments.tasks == 0 && payments.delayed == 0 && !sagas.late_timer;
        Sight {
            sagas,
            inventory: self.inventory.facts(world.inventory),
            payments,
            orders: self.orders.facts(world.orders),
            total: total(self.shop.free),
            quiet: silent && idle && self.shared.agains.get(world.again).is_empty(),
        }
    }

    /// The first rule that does not hold.
    pub fn broken(&self, world: &World) -> Option<&'static str> {
        let sight = self.sight(world);
        RULES.iter().find(|rule| !(rule.holds)(&sight)).map(|rule| rule.says)
    }

    /// Everything that may happen next.
    pub fn nexts(&mut self, world: &World) -> Vec<Next> {
        let mut step = Step { model: self, from: *world, nexts: Vec::new() };
        step.messages_arrive();
        step.messages_arrive_again();
        step.workers_work();
        step.time_passes();
        step.people_act();
        let mut nexts = step.nexts;
        for next in &mut nexts {
            next.broken = next.broken.or_else(|| self.broken(&next.world));
        }
        nexts
    }
}

impl Shared {
    fn send(&mut self, world: &mut World, channel: Channel, message: u16) {
        let queue = &mut world.queues[channel as usize];
        let mut messages = self.queues.get(*queue).clone();
        messages.push(message);
        *queue = self.queues.number(messages);
    }

    fn take(&mut self, world: &mut World, channel: Channel, place: usize) -> Option<u16> {
        let queue = &mut world.queues[channel as usize];
        let mut messages = self.queues.get(*queue).clone();
        if messages.len() <= place {
            return None;
        }
        let message = messages.remove(place);
        *queue = self.queues.number(messages);
        Some(message)
    }

    fn expect_again(&mut self, world: &mut World, again: Again) {
        let mut agains = self.agains.get(world.again).clone();
        agains.push(again);
        world.again = self.agains.number(agains);
    }
}

/// The nexts of one world in the making.
struct Step<'a> {
    model: &'a mut Model,
    from: World,
    nexts: Vec<Next>,
}

impl Step<'_> {
    fn messages_arrive(&mut self) {
        for channel in Channel::ALL {
            let mut world = self.from;
            let Some(message) = self.model.shared.take(&mut world, channel, 0) else { continue };
            self.deliver(world, channel, message, Delivery::Only, &[]);
            let ticket = self.from.left.left(Chance::Repeat);
            if ticket > 0 {
                let again = Again::Message { channel, message, ticket };
                let mut world = world;
                self.model.shared.expect_again(&mut world, again);
                self.deliver(world, channel, message, Delivery::First(ticket), &[Chance::Repeat]);
            }
            if channel.is_request() && self.from.left.left(Chance::Overtake) > 0 {
                self.messages_overtake(channel);
            }
        }
    }

    fn messages_overtake(&mut self, channel: Channel) {
        let mut place = 1;
        let mut world = self.from;
        while let Some(message) = self.model.shared.take(&mut world, channel, place) {
            self.deliver(world, channel, message, Delivery::Only, &[Chance::Overtake]);
            world = self.from;
            place += 1;
        }
    }

    /// What is delivered once more keeps its order within a channel.
    fn messages_arrive_again(&mut self) {
        let agains = self.model.shared.agains.get(self.from.again).clone();
        let mut seen = Vec::new();
        for (place, again) in agains.iter().enumerate() {
            let mut world = self.from;
            let mut rest = agains.clone();
            rest.remove(place);
            world.again = self.model.shared.agains.number(rest);
            match *again {
                Again::Message { channel, message, ticket } => {
                    if !seen.contains(&channel) {
                        seen.push(channel);
                        self.deliver(world, channel, message, Delivery::Second(ticket), &[]);
                    }
                }
                Again::Booking { ticket } => {
                    self.inventory(world, inventory::Input::Book(Delivery::Second(ticket)), &[]);
                }
            }
        }
    }

    fn workers_work(&mut self) {
        let payments = self.model.payments.facts(self.from.payments);
        for task in 0..payments.tasks {
            self.payments(self.from, payments::Input::Work(task), &[]);
        }
        for call in 0..payments.delayed {
            self.payments(self.from, payments::Input::Arrive(call), &[]);
        }
        if self.from.left.left(Chance::Webhook) > 0 {
            for call in 0..payments.done {
                self.payments(self.from, payments::Input::Notify(call), &[]);
            }
        }
    }

    fn time_passes(&mut self) {
        for kind in [Kind::Checkout, Kind::Cancellation] {
            self.sagas(self.from, sagas::Input::Fire(kind), &[]);
            self.sagas(self.from, sagas::Input::Take(kind), &[]);
        }
        self.sagas(self.from, sagas::Input::FireLate, &[]);
        let hour = self.from.hour;
        self.inventory(self.from, inventory::Input::Expire { hour }, &[]);
        if let Some(left) = self.from.left.after(&[Chance::Hour]) {
            let what = self.model.shared.told.number("an hour passes".to_owned());
            let world = World { hour: hour + 1, left, ..self.from };
            self.nexts.push(Next { what, world, broken: None });
        }
    }

    fn people_act(&mut self) {
        self.orders(self.from, orders::Input::Cancel, &[]);
        self.orders(self.from, orders::Input::Ship, &[]);
        for kind in [Kind::Checkout, Kind::Cancellation] {
            self.sagas(self.from, sagas::Input::Retry(kind), &[]);
            self.sagas(self.from, sagas::Input::Compensate(kind), &[]);
        }
        let hour = self.from.hour;
        self.inventory(self.from, inventory::Input::RivalReserves { hour }, &[]);
        self.inventory(self.from, inventory::Input::RivalPays, &[]);
        self.inventory(self.from, inventory::Input::RivalGivesUp, &[]);
        self.inventory(self.from, inventory::Input::Miss, &[]);
        self.inventory(self.from, inventory::Input::Book(Delivery::Only), &[]);
        let ticket = self.from.left.left(Chance::Repeat);
        if ticket > 0 && self.from.left.left(Chance::Booking) > 0 {
            let mut world = self.from;
            self.model.shared.expect_again(&mut world, Again::Booking { ticket });
            self.inventory(world, inventory::Input::Book(Delivery::First(ticket)), &[Chance::Repeat]);
        }
    }

    fn deliver(
        &mut self,
        world: World,
        channel: Channel,
        message: u16,
        delivery: Delivery,
        costs: &[Chance],
    ) {
        match channel {
            Channel::CheckoutToInventory | Channel::CancellationToInventory => {
                let hour = world.hour;
                self.inventory(world, inventory::Input::Request { message, delivery, hour }, costs);
            }
            Channel::CheckoutToPayment | Channel::CancellationToPayment => {
                self.payments(world, payments::Input::Request { message, delivery }, costs);
            }
            Channel::CheckoutToOrder | Channel::CancellationToOrder => {
                self.orders(world, orders::Input::Request { message, delivery }, costs);
            }
            Channel::FromInventory | Channel::FromPayment | Channel::FromOrder => {
                self.sagas(world, sagas::Input::Hear { message, delivery }, costs);
            }
        }
    }

    fn sagas(&mut self, world: World, input: sagas::Input, costs: &[Chance]) {
        let Model { sagas, shared, .. } = &mut *self.model;
        put(sagas, shared, |world| &mut world.sagas, &self.from, world, input, costs, &mut self.nexts);
    }

    fn inventory(&mut self, world: World, input: inventory::Input, costs: &[Chance]) {
        let Model { inventory, shared, .. } = &mut *self.model;
        put(
            inventory,
            shared,
            |world| &mut world.inventory,
            &self.from,
            world,
            input,
            costs,
            &mut self.nexts,
        );
    }

    fn payments(&mut self, world: World, input: payments::Input, costs: &[Chance]) {
        let Model { payments, shared, .. } = &mut *self.model;
        put(payments, shared, |world| &mut world.payments, &self.from, world, input, costs, &mut self.nexts);
    }

    fn orders(&mut self, world: World, input: orders::Input, costs: &[Chance]) {
        let Model { orders, shared, .. } = &mut *self.model;
        put(orders, shared, |world| &mut world.orders, &self.from, world, input, costs, &mut self.nexts);
    }
}

/// Puts an input to one service of a world, and notes what comes of it within the bounds.
#[expect(clippy::too_many_arguments, reason = "the parts of a model and of a step, borrowed one by one")]
fn put<S: Service>(
    service: &mut Explored<S>,
    shared: &mut Shared,
    field: fn(&mut World) -> &mut u16,
    from: &World,
    mut world: World,
    input: S::Input,
    costs: &[Chance],
    nexts: &mut Vec<Next>,
) {
    let Some(left) = world.left.after(costs) else { return };
    world.left = left;
    let state = *field(&mut world);
    let turns = service.turns(state, input, &mut shared.messages, &mut shared.told);
    for turn in turns.iter() {
        let Some(left) = world.left.after(&turn.costs) else { continue };
        let mut next = World { left, ..world };
        *field(&mut next) = turn.state;
        for (channel, message) in &turn.messages {
            shared.send(&mut next, *channel, *message);
        }
        if next != *from || turn.broken.is_some() {
            nexts.push(Next { what: turn.what, world: next, broken: turn.broken });
        }
    }
}
