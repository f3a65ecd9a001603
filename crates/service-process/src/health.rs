//! `healthcheck`: asks the process beside it, for container engines that have no probe of their own.

#![expect(clippy::print_stdout, reason = "container engines keep what a check says")]

use std::process::ExitCode;
use std::time::Duration;

use service_runtime::grpc::{LIVENESS, READINESS};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::{DONE, NOT_WELL, config};

/// Container engines give a check some seconds; an answer that takes longer is none.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Asks over gRPC's health protocol.
pub(crate) async fn check(config: &config::Health, live: bool) -> ExitCode {
    let service = if live { LIVENESS } else { READINESS };
    let target = config.target();
    let answer = async {
        let channel = Endpoint::from_shared(format!("http://{target}"))
            .map_err(|error| error.to_string())?
            .connect_timeout(TIMEOUT)
            .timeout(TIMEOUT)
            .connect()
            .await
            .map_err(|_| format!("nobody answers on {target}"))?;
        let request = HealthCheckRequest { service: service.to_owned() };
        let reply = HealthClient::new(channel).check(request).await;
        let status = reply.map_err(|status| format!("{target}: {}", status.message()))?.into_inner().status();
        match status {
            ServingStatus::Serving => Ok(()),
            other => Err(format!("{target}: {}", other.as_str_name())),
        }
    };
    match tokio::time::timeout(TIMEOUT, answer)
        .await
        .unwrap_or_else(|_| Err(format!("{target}: no answer in time")))
    {
        Ok(()) => {
            println!("{service}: serving");
            DONE
        }
        Err(reason) => {
            println!("{service}: {reason}");
            ExitCode::from(NOT_WELL)
        }
    }
}
