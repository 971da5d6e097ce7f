//! Why something may not be in an app, and what may stand there instead.

use std::fmt;

use crate::domain::text::foreign;

/// Something that may not be, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The service it is in, if it is in one.
    pub service: Option<String>,
    /// The keys that lead to it, such as `services.web.volumes[0]`.
    pub at: String,
    /// What stands there, cleaned.
    pub found: String,
    /// The rule it breaks.
    pub rule: Rule,
}

impl Refusal {
    pub(super) fn new(service: Option<&str>, at: &str, found: &str, rule: Rule) -> Self {
        let service = service.map(|service| foreign(service, 60));
        Self { service, at: foreign(at, 200), found: foreign(found, 120), rule }
    }
}

impl Refusal {
    /// The same of something that is there already: where it stands, what it is, and what is the matter with it.
    #[must_use]
    pub fn as_it_is(&self) -> String {
        let Self { at, found, rule, .. } = self;
        let found = if found.is_empty() { String::new() } else { format!(" ({found})") };
        let at = if at.is_empty() { "the file" } else { at };
        format!("{at}{found}: {}", rule.why())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, found, rule, .. } = self;
        if at.is_empty() {
            f.write_str("the file")?;
        } else {
            f.write_str(at)?;
        }
        if !found.is_empty() {
            write!(f, " ({found})")?;
        }
        write!(f, " breaks the rule {}: {}. What would pass: {}.", rule.id(), rule.why(), rule.passes())
    }
}

macro_rules! rules {
    ($($rule:ident, $id:literal, $why:literal, $passes:literal;)*) => {
        /// A rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $(#[doc = $why] $rule),*
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$rule),*];

            /// Its name, for programs and tests.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$rule => $id),* }
            }

            /// What is wrong with what it forbids.
            #[must_use]
            pub const fn why(self) -> &'static str {
                match self { $(Self::$rule => $why),* }
            }

            /// What may stand there instead.
            #[must_use]
            pub const fn passes(self) -> &'static str {
                match self { $(Self::$rule => $passes),* }
            }
        }
    };
}

impl Rule {
    /// Whether what it forbids may reach out of the app: nobody knows what it does, or it does. The others are about
    /// how a file is written, or about what only the app itself has of it.
    #[must_use]
    pub const fn lets_out(self) -> bool {
        !matches!(
            self,
            Self::Hidden
                | Self::Undeclared
                | Self::NoServices
                | Self::Image
                | Self::ImageTag
                | Self::Build
                | Self::Port
                | Self::LowPort
                | Self::PortTwice
                | Self::PortUsed
                | Self::Limits
        )
    }
}

rules! {
    Yaml, "yaml", "it cannot be read as YAML", "one YAML document as the Compose specification describes it";
    TooLarge, "too-large", "it is longer, deeper or, with its aliases followed, larger than any app needs",
        "less than 48 KiB, 32 levels, 20,000 nodes and 128 KiB with its aliases followed";
    DuplicateKey, "duplicate-key", "readers differ in which of the two counts", "each key once in its map";
    Tag, "tag", "a tag asks the reader to do something", "plain values without tags";
    Shape, "shape", "it has not the form that the Compose specification gives it, so that nobody can say what it does",
        "the form of the Compose specification";
    UnknownKey, "unknown-key", "it is not a key that is known here, and what is not known is not let through",
        "the keys of the Compose specification that keep an app in its containers";
    NoServices, "no-services", "there is no service in it", "a map of at least one and at most 32 services";
    Interpolation, "interpolation", "it would be filled in from the environment of the NAS, which is not known here",
        "the value itself, and $$ for a dollar sign";
    Hidden, "hidden-value", "it stands for a value that was left out and that is not there to be kept",
        "the value itself";
    Privileged, "privileged", "it gives the container the whole machine", "no privileged; a device or capability that is allowed";
    HostNamespace, "host-namespace", "it puts the container into a namespace of the NAS or of another app",
        "no such key; for a network, ports and the app's own networks";
    Capability, "capability", "it is a right over the whole machine",
        "CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, SETFCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, AUDIT_WRITE";
    SecurityOpt, "security-opt", "it takes away what keeps the container in", "no-new-privileges:true";
    Device, "device", "it is a device of the NAS that the configuration does not allow to apps",
        "a device that app_devices of the configuration names";
    Socket, "docker-socket", "who has the socket of Docker has the NAS", "no socket at all";
    HostPath, "host-path", "it is a place of the NAS that the configuration does not allow to apps",
        "a named volume, or a path /mnt/DATASET below one of app_datasets of the configuration";
    RelativePath, "relative-path", "it is relative to a folder of the NAS that is not known here",
        "a named volume, or a whole path";
    Propagation, "propagation", "mounts made in the container would appear on the NAS", "private, or nothing";
    VolumeDriver, "volume-driver", "options of a driver can mount any place", "driver: local without options";
    External, "external", "it belongs to another app or to the NAS", "a volume or network of the app's own, without name and external";
    Undeclared, "undeclared", "it is not declared at the end of the file", "a name that volumes, networks or configs declare";
    ReadsHost, "reads-host", "it is read from a file of the NAS or from elsewhere before it can be looked at here",
        "its content in this file";
    HostEnv, "host-env", "without a value it is taken from the environment of the NAS", "NAME: value, or NAME: \"\"";
    Build, "build", "it builds an image from sources that cannot be looked at here", "image, with a tag or digest";
    Image, "image", "it is not the name of an image", "[registry/]name:tag, or @sha256: and 64 digits";
    ImageTag, "image-tag", "without a tag or digest nobody can say which image it is", "image: name:tag, or @sha256: and 64 digits";
    Port, "port", "it is not a port, or not one for one", "\"8080:80\", or the long form with target and published";
    LowPort, "low-port", "ports below 1024 belong to the services of the NAS itself", "a port from 1024 to 65535";
    PortTwice, "port-twice", "two services ask for the same port of the NAS", "another port";
    PortUsed, "port-used", "another app uses this port of the NAS", "a port that app_ports does not list";
    Driver, "driver", "it is a driver that reaches out of the app", "bridge for networks, local for volumes, json-file, local or none for logs";
    Sysctl, "sysctl", "it is a setting of the whole machine", "settings that begin with net.";
    Limits, "limits", "it protects the container against the NAS when memory runs out", "mem_limit, or nothing";
    RunsOnHost, "runs-on-host", "it runs something on the NAS or with more rights than the service has", "command, entrypoint or a service of its own";
    Runtime, "runtime", "it is another way to run containers, which is not known here", "nothing";
    NetworkMount, "network-mount", "it mounts a share, which can be one of the NAS itself", "a dataset that is allowed, or an ix_volume";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_rule_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.id()).collect();
        assert_eq!(names.len(), Rule::ALL.len());
    }

    #[test]
    fn a_refusal_says_where_what_why_and_what_would_pass() {
        let refusal = Refusal::new(Some("web"), "services.web.privileged", "true\u{1b}[2J", Rule::Privileged);
        assert_eq!(
            refusal.to_string(),
            "services.web.privileged (true [2J) breaks the rule privileged: it gives the container the whole machine. \
             What would pass: no privileged; a device or capability that is allowed."
        );
    }
}
