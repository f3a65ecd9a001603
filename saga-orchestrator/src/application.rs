//! What the orchestrator does: it tells sagas what happened, carries out what operators order, and answers
//! questions about them. The rules are the domain's; where messages come from is the adapters' business.

mod operate;
mod queries;
mod tell;
mod timeline;
mod view;

pub use operate::{Operate, OperatorOrder};
pub use queries::{Queries, QueryError, SagaPage};
pub use tell::{ProcessManager, Sagas, Tell, Told};
pub use timeline::TimelineEntry;
pub use view::{MalformedSagaId, SagaId, SagaView};
