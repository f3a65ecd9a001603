//! A shop whose services run elsewhere, as the operator's commands see it: where each service, each database and the
//! gateway is, from the environment. Nothing is looked for; what a command needs and nobody told it, it names.

use anyhow::bail;
use service_runtime::Secret;
use service_runtime::config::{ConfigReader, ConfigValue};
use sha2::{Digest, Sha256};

use crate::config::SERVICES;
use crate::data_folder::hex;

/// Bytes of the hash that a cluster is named by.
const NAME_BYTES: usize = 8;

/// Where the shop's parts are, as far as the environment says.
#[derive(Debug)]
pub struct Cluster {
    /// In the order of [`SERVICES`].
    addresses: [Option<Vec<Address>>; SERVICES.len()],
    databases: [Option<Secret>; SERVICES.len()],
    gateway: Option<http::Uri>,
    operator_token: Option<Secret>,
}

/// Where a service's gRPC is: `host:port`, or a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(http::Uri);

impl Address {
    /// As a URL.
    #[must_use]
    pub fn uri(&self) -> &http::Uri {
        &self.0
    }
}

impl ConfigValue for Address {
    const RULE: &'static str = "host:port or http://host:port, several with commas in between";

    fn parse(text: &str) -> Option<Self> {
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri = http::Uri::parse(&url)?;
        uri.port_u16().map(|_| Self(uri))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }

    fn stand_in() -> Self {
        Self(http::Uri::default())
    }

    fn may_hide_secret(text: &str) -> bool {
        text.contains('@')
    }
}

impl Cluster {
    /// Reads the environment. `None` when it says nothing of a cluster: then the shop is the one of the data folder.
    pub fn read(reader: &mut ConfigReader) -> Option<Self> {
        let addresses = SERVICES.map(|service| {
            let name = variable(service, "ADDRESS");
            reader.var(name, "where this service's gRPC is, for the operator's commands").optional()
        });
        let databases = SERVICES.map(|service| {
            let name = variable(service, "DATABASE_URL");
            reader.var(name, "this service's database, for `audit` and `events`").optional()
        });
        let gateway = reader.var("STORELINE_GATEWAY_URL", "where REST is, for `demo`").optional();
        // Where services have two while one is rotated, the file that they read may be read here as well.
        let tokens: Option<Vec<Secret>> = reader
            .var("STORELINE_OPERATOR_TOKEN", "the operator's token, for all but `audit` and `events`")
            .optional();
        let operator_token = tokens.and_then(|tokens| tokens.into_iter().next());
        let cluster = Self { addresses, databases, gateway, operator_token };
        let Self { addresses, databases, gateway, .. } = &cluster;
        let is_told = gateway.is_some()
            || addresses.iter().any(Option::is_some)
            || databases.iter().any(Option::is_some);
        is_told.then_some(cluster)
    }

    /// Where a service is.
    ///
    /// # Errors
    /// When nobody said.
    pub fn addresses(&self, service: &str) -> anyhow::Result<&[Address]> {
        let place = SERVICES.iter().position(|known| *known == service);
        let Some(place) = place else { bail!("there is no service `{service}`") };
        match &self.addresses[place] {
            Some(addresses) if !addresses.is_empty() => Ok(addresses),
            _ => bail!("{} must be set: where the service `{service}` is", variable(service, "ADDRESS")),
        }
    }

    /// A name of its own among all clusters that commands of this machine work on, made of where its services are.
    #[must_use]
    pub fn name(&self) -> String {
        let told: Vec<String> =
            self.addresses.iter().map(|known| known.as_ref().map_or_else(String::new, Vec::show)).collect();
        let digest = Sha256::digest(told.join(";"));
        format!("cluster-{}", hex(digest.get(..NAME_BYTES).unwrap_or_default()))
    }

    /// Where REST is.
    ///
    /// # Errors
    /// When nobody said.
    pub fn gateway(&self) -> anyhow::Result<&http::Uri> {
        match &self.gateway {
            Some(gateway) => Ok(gateway),
            None => bail!("STORELINE_GATEWAY_URL must be set: where REST is"),
        }
    }

    /// The operator's token.
    ///
    /// # Errors
    /// When nobody said.
    pub fn operator_token(&self) -> anyhow::Result<&Secret> {
        match &self.operator_token {
            Some(token) => Ok(token),
            None => bail!(
                "STORELINE_OPERATOR_TOKEN must be set, or STORELINE_OPERATOR_TOKEN_FILE to the path of a file that holds it"
            ),
        }
    }

    /// The databases, in the order of [`SERVICES`].
    ///
    /// # Errors
    /// Every one of `needed` that nobody told, at once.
    pub fn databases(&self, needed: &[&str]) -> anyhow::Result<[Option<&Secret>; SERVICES.len()]> {
        let is_missing =
            |(service, url): &(&&str, &Option<Secret>)| url.is_none() && needed.contains(*service);
        let missing: Vec<String> = SERVICES
            .iter()
            .zip(&self.databases)
            .filter(is_missing)
            .map(|(service, _)| variable(service, "DATABASE_URL"))
            .collect();
        if !missing.is_empty() {
            bail!("{} must be set: the databases of the services", missing.join(", "));
        }
        Ok(self.databases.each_ref().map(Option::as_ref))
    }
}

fn variable(service: &str, what: &str) -> String {
    format!("STORELINE_{}_{what}", service.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<Option<Cluster>, Vec<String>> {
        let mut reader = ConfigReader::from_map(values.iter().copied());
        let cluster = Cluster::read(&mut reader);
        reader.finish(cluster).map_err(|errors| {
            errors.problems().iter().map(|problem| format!("{} {:?}", problem.name, problem.found)).collect()
        })
    }

    #[test]
    fn without_a_word_of_a_cluster_the_shop_is_the_one_of_the_data_folder() {
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[("DATABASE_URL", "postgres://db/postgres")]).unwrap().is_none());
        assert!(read(&[("STORELINE_OPERATOR_TOKEN", "exported for another program")]).unwrap().is_none());
    }

    #[test]
    fn an_address_is_a_host_and_a_port_or_a_url_or_several() {
        let told = [("STORELINE_ORDER_ADDRESS", "order-0.order:50053, https://order-1:443")];
        let cluster = read(&told).unwrap().unwrap();
        let addresses = cluster.addresses("order").unwrap();
        let shown: Vec<String> = addresses.iter().map(|address| address.uri().to_string()).collect();
        assert_eq!(
            shown,
            ["http://order-0.order:50053/", "https://order-1/"]
                .map(|text| text.replace("order-1/", "order-1:443/"))
        );
    }

    #[test]
    fn what_a_command_needs_and_nobody_told_is_named() {
        let cluster = read(&[("STORELINE_SAGA_DATABASE_URL", "postgres://db/saga")]).unwrap().unwrap();
        let missing = cluster.databases(&SERVICES).unwrap_err().to_string();
        for service in ["PRODUCT", "INVENTORY", "ORDER", "PAYMENT"] {
            assert!(missing.contains(&format!("STORELINE_{service}_DATABASE_URL")), "{missing}");
        }
        assert!(!missing.contains("SAGA"), "{missing}");
        assert!(cluster.databases(&["saga"]).is_ok());
        assert!(cluster.addresses("saga").unwrap_err().to_string().contains("STORELINE_SAGA_ADDRESS"));
        assert!(cluster.gateway().unwrap_err().to_string().contains("STORELINE_GATEWAY_URL"));
        assert!(cluster.operator_token().unwrap_err().to_string().contains("STORELINE_OPERATOR_TOKEN_FILE"));
    }

    #[test]
    fn every_wrong_address_is_named_at_once_and_no_password_is_shown() {
        let problems = read(&[
            ("STORELINE_SAGA_ADDRESS", "saga"),
            ("STORELINE_ORDER_ADDRESS", "http://me:secret@order:1"),
            ("STORELINE_GATEWAY_URL", "gateway"),
        ])
        .unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(!problems.concat().contains("secret"), "{problems:?}");
    }
}
