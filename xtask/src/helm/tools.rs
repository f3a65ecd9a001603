//! Helm and kubeconform: found on the machine or in our cache folder, else built once with Go.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::tools::{first_line, go_tool};

const HELM: &str = "helm.sh/helm/v4/cmd/helm";
const HELM_VERSIONS: [&str; 1] = ["v4.3.1"];
const KUBECONFORM: &str = "github.com/yannh/kubeconform/cmd/kubeconform";
/// The second builds with an older Go.
const KUBECONFORM_VERSIONS: [&str; 2] = ["v0.8.0", "v0.6.7"];

/// Where each tool is.
pub struct HelmTools {
    helm: PathBuf,
    kubeconform: PathBuf,
}

impl HelmTools {
    /// Finds or installs all of them, and says which versions they are.
    pub fn provide() -> Result<Self> {
        let helm = go_tool("helm", HELM, &HELM_VERSIONS)?;
        let kubeconform = go_tool("kubeconform", KUBECONFORM, &KUBECONFORM_VERSIONS)?;
        println!("helm        {} ({})", first_line(&helm, "version"), helm.display());
        println!("kubeconform {} ({})", first_line(&kubeconform, "-v"), kubeconform.display());
        Ok(Self { helm, kubeconform })
    }

    pub fn helm(&self) -> Command {
        Command::new(&self.helm)
    }

    pub fn kubeconform(&self) -> Command {
        Command::new(&self.kubeconform)
    }
}
