//! A process that appends: this test binary, started once more by tests that stop, continue and kill it. What it does
//! follows from a plan that its starter knows too, and it writes down every answer that it got.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eventsourcing::*;
use sqlx::PgConnection;
use testkit::TestDatabase;
use uuid::Uuid;

use crate::harness::{Verdict, Violation};
use crate::support::*;

/// What tells the process what to do: URL of the database, its number, how many commands, and the file of answers.
const PLAN: &str = "STORELINE_TEST_WRITER";
/// Commands that are on their way at the same time.
const CLIENTS: usize = 64;
/// Pause before a command without an answer is sent again, under the same id.
const PAUSE: Duration = Duration::from_millis(20);
/// Waits for the end of a pipe that only the starter holds. $1 is the process, the others are its files.
const GUARD: &str = r#"cat >/dev/null; kill -KILL "$1"; shift; rm -f "$@""#;
/// Events of one command that saves.
pub const EVENTS_EACH: u64 = 10;
/// Streams of each process that nobody else writes to.
const OWN_STREAMS: usize = 1000;
/// Accounts between which all processes move money, with this much in each at the beginning.
pub const SHARED_ACCOUNTS: usize = 5;
pub const SEED_CAPITAL: i64 = 100;

/// What one process is to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub process: usize,
    pub commands: usize,
}

/// An answer: the version after saving, 0 for a transfer; none when it was refused.
pub type Answers = HashMap<usize, (Option<u64>, Replayed)>;
/// Whether it was answered before.
pub type Replayed = bool;

pub fn shared_account(number: usize) -> StreamId {
    account(format!("shared-{number}"))
}

/// One command of a plan.
pub enum Work {
    Save(Deposits),
    Move(Transfer),
}

impl Operation for Work {
    type Reply = u64;
    type Rejection = AccountError;

    fn run(&self, view: &mut View<'_>) -> Result<u64, Halt<AccountError>> {
        match self {
            Self::Save(deposits) => deposits.run(view),
            Self::Move(transfer) => transfer.run(view).map(|()| 0),
        }
    }
}

impl Plan {
    /// The same in every process that follows the plan.
    pub fn command_id(self, number: usize) -> Uuid {
        Uuid::from_u128(((self.process as u128 + 1) << 64) | number as u128)
    }

    pub fn work(self, number: usize) -> Work {
        let process = self.process;
        match number % 10 {
            0 => {
                let (from, to) =
                    (number / 10 % SHARED_ACCOUNTS, (number / 10 + 1 + process) % SHARED_ACCOUNTS);
                let to = if from == to { (to + 1) % SHARED_ACCOUNTS } else { to };
                let amount = number as i64 % 13 + 1;
                Work::Move(Transfer { from: shared_account(from), to: shared_account(to), amount })
            }
            // All processes write to this one.
            1 => Work::Save(Deposits { stream: account("busy"), count: EVENTS_EACH as i64 }),
            _ => {
                let stream = account(format!("{process}-{}", number % OWN_STREAMS));
                Work::Save(Deposits { stream, count: EVENTS_EACH as i64 })
            }
        }
    }

    /// Compares the answers with what the log holds of each command: all of it once, and nothing of what was refused.
    /// Returns how many events there are.
    pub async fn verify(self, answers: &Answers, owner: &mut PgConnection) -> Result<u64, Violation> {
        let rows: Vec<(Uuid, i64, i64, i64)> = sqlx::query_as(
            "SELECT command_id, count(*), count(DISTINCT stream_id), max(version) FROM eventlog.events \
              WHERE command_id BETWEEN $1 AND $2 GROUP BY command_id",
        )
        .bind(self.command_id(0))
        .bind(self.command_id(self.commands))
        .fetch_all(owner)
        .await?;
        let stored: HashMap<Uuid, (i64, i64, i64)> =
            rows.into_iter().map(|(id, events, streams, version)| (id, (events, streams, version))).collect();
        let mut events = 0;
        for number in 0..self.commands {
            let Some((answer, _)) = answers.get(&number) else {
                return Err(Violation(format!("command {number} of {self:?} has no answer")));
            };
            let found = stored.get(&self.command_id(number)).copied();
            let as_answered = match (answer, self.work(number)) {
                (None, _) => found.is_none(),
                (Some(version), Work::Save(_)) => found == Some((EVENTS_EACH as i64, 1, *version as i64)),
                (Some(_), Work::Move(_)) => {
                    found.is_some_and(|(events, streams, _)| (events, streams) == (2, 2))
                }
            };
            hold!(as_answered, "command {number} of {self:?} was answered {answer:?}, the log has {found:?}");
            events += found.map_or(0, |(events, ..)| events as u64);
        }
        Ok(events)
    }

    /// Sends some of the commands once more: each gets its first answer.
    pub async fn repeat(
        self,
        answers: &Answers,
        numbers: impl Iterator<Item = usize>,
        processor: &CommandProcessor,
    ) -> Verdict {
        for number in numbers {
            let (answer, _) = answers.get(&number).expect("it was verified to be there");
            let repeated = processor.execute(self.work(number), context_of(self.command_id(number))).await;
            let repeated = outcome(repeated)?;
            hold!(
                repeated == (*answer, true),
                "command {number} of {self:?} was {answer:?}, its repeat {repeated:?}"
            );
        }
        Ok(())
    }
}

/// A process at work. It is killed with this value, or with this process, also when it is stopped at the moment.
pub struct Writer {
    plan: Plan,
    child: Child,
    guard: Child,
    answers: PathBuf,
    said: PathBuf,
}

impl Writer {
    /// Starts a process; `fault` says at which point it is to die.
    pub fn start(plan: Plan, database: &TestDatabase, fault: Option<&str>) -> Self {
        let file = |kind| std::env::temp_dir().join(format!("storeline-{kind}-{}", Uuid::new_v4().simple()));
        let (answers, said) = (file("answers"), file("said"));
        let Plan { process, commands } = plan;
        let instructions = format!("{} {process} {commands} {}", database.url(), answers.display());
        let mut command = Command::new(std::env::current_exe().expect("this program has a file"));
        command
            .args(["writer::process", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(PLAN, instructions)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&said).expect("the folder for temporary files can be written"));
        if let Some(fault) = fault {
            command.env(eventsourcing::fault::VARIABLE, fault);
        }
        let child = command.spawn().expect("this program can be started");
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard", &child.id().to_string()])
            .args([&answers, &said])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        Self { plan, child, guard, answers, said }
    }

    /// Sends a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success(), "the writer is gone: {}", self.said());
    }

    /// Waits for its end.
    pub async fn end(&mut self, deadline: Duration) -> ExitStatus {
        let child = &mut self.child;
        let status = testkit::eventually("the writer ends", deadline, || {
            std::future::ready(child.try_wait().expect("the child is ours"))
        })
        .await;
        // Its number may belong to another process from now on.
        self.guard.kill().ok();
        status
    }

    /// What it said on its way.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// Whether it has the answers of its whole plan.
    pub fn is_through(&self) -> bool {
        self.answers().len() == self.plan.commands
    }

    /// Every answer that it got.
    pub fn answers(&self) -> Answers {
        let text = fs::read_to_string(&self.answers).unwrap_or_default();
        let whole = text.lines().filter_map(|line| line.strip_suffix('.'));
        whole.map(|line| read_answer(line).unwrap_or_else(|| panic!("no answer: {line}"))).collect()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        self.guard.wait().ok();
        self.child.wait().ok();
        fs::remove_file(&self.answers).ok();
        fs::remove_file(&self.said).ok();
    }
}

fn read_answer(line: &str) -> Option<(usize, (Option<u64>, Replayed))> {
    let mut words = line.split(' ');
    let number = words.next()?.parse().ok()?;
    let answer = match words.next()? {
        "refused" => None,
        version => Some(version.parse().ok()?),
    };
    Some((number, (answer, words.next()? == "again")))
}

fn write_answer(number: usize, (answer, replayed): (Option<u64>, Replayed)) -> String {
    let answer = answer.map_or("refused".to_owned(), |version| version.to_string());
    // The stop at the end tells a whole line from one that was cut off.
    format!("{number} {answer} {}.\n", if replayed { "again" } else { "first" })
}

type Executed = Result<Committed<u64>, ExecuteError<AccountError>>;

/// The part of an answer that a repeat must get too, and whether this was one.
fn outcome(executed: Executed) -> Result<(Option<u64>, Replayed), Violation> {
    match executed {
        Ok(Committed { reply, replayed, .. }) => Ok((Some(reply), replayed)),
        Err(ExecuteError::Rejected { replayed, .. }) => Ok((None, replayed)),
        Err(other) => Err(other.into()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the body of a process that other tests start"]
async fn process() {
    let Ok(instructions) = std::env::var(PLAN) else { return };
    let words: Vec<&str> = instructions.split(' ').collect();
    let [url, process, commands, answers] = words[..] else { panic!("{PLAN} is incomplete") };
    let plan = Plan { process: process.parse().unwrap(), commands: commands.parse().unwrap() };
    let log = EventLog::open(LogOptions::new(LOG, url)).await.unwrap();
    let processor = CommandProcessor::start(log, ProcessorOptions::default());
    let (next, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(File::create(answers).unwrap()));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (processor, next, answers) = (processor.clone(), next.clone(), answers.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= plan.commands {
                        return;
                    }
                    let answer = answered(plan, number, &processor).await;
                    (&*answers).write_all(write_answer(number, answer).as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
}

/// Sends a command until it has an answer.
async fn answered(plan: Plan, number: usize, processor: &CommandProcessor) -> (Option<u64>, Replayed) {
    loop {
        let executed = processor.execute(plan.work(number), context_of(plan.command_id(number))).await;
        match executed {
            Err(error) if error.is_transient() => tokio::time::sleep(PAUSE).await,
            executed => return outcome(executed).unwrap(),
        }
    }
}
