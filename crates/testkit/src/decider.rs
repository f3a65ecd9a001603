//! given(events).when(command).then(events): the form in which every rule of a decider is tested.

use std::fmt::Debug;

use eventsourcing::Decider;

/// A decider with a history.
pub struct Given<D: Decider> {
    state: D::State,
}

/// The outcome of a command.
pub struct When<D: Decider> {
    state: D::State,
    outcome: Result<Vec<D::Event>, D::Error>,
}

/// Starts from a history.
pub fn given<D: Decider>(history: impl IntoIterator<Item = D::Event>) -> Given<D> {
    let state = history.into_iter().fold(D::State::default(), |state, event| D::evolve(state, &event));
    Given { state }
}

impl<D: Decider> Given<D> {
    /// Puts a command to it.
    pub fn when(self, command: D::Command) -> When<D> {
        let outcome = D::decide(&self.state, &command);
        When { state: self.state, outcome }
    }
}

impl<D: Decider> When<D>
where
    D::Event: Debug + PartialEq,
    D::Error: Debug + PartialEq,
{
    /// The command led to exactly these events. What follows starts from them.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = D::Event>) -> Given<D> {
        let expected: Vec<_> = expected.into_iter().collect();
        let events =
            self.outcome.unwrap_or_else(|error| panic!("expected {expected:?}, got rejected: {error:?}"));
        assert_eq!(events, expected);
        Given { state: events.iter().fold(self.state, |state, event| D::evolve(state, event)) }
    }

    /// There was nothing to do.
    #[track_caller]
    pub fn then_nothing(self) -> Given<D> {
        self.then([])
    }

    /// The command broke this rule.
    #[track_caller]
    pub fn then_rejected(self, expected: D::Error) {
        match self.outcome {
            Ok(events) => panic!("expected {expected:?}, got events {events:?}"),
            Err(error) => assert_eq!(error, expected),
        }
    }
}
