//! In which container a process is, as far as its control group tells: the names that Docker, Podman, containerd, CRI-O, LXC and
//! systemd-nspawn give theirs.

use std::fs;

/// A process's control group, and the container that it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The path below the hierarchy's top; `None` if it is not told.
    pub cgroup: Option<String>,
    /// The first 12 digits of its id, or its name.
    pub name: Option<String>,
}

impl Container {
    pub fn of(pid: u32) -> Container {
        fs::read_to_string(format!("/proc/{pid}/cgroup")).map(|text| Container::parse(&text)).unwrap_or_default()
    }

    fn parse(text: &str) -> Container {
        // cgroups(7): hierarchy, controllers, path; the second version's hierarchy is 0.
        let paths: Vec<&str> = text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
        let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
        let named = paths.iter().find_map(|path| path.split('/').rev().find_map(name));
        let cgroup = unified.filter(|path| *path != "/").or_else(|| paths.iter().copied().find(|path| *path != "/"));
        Container { cgroup: cgroup.or(unified).map(str::to_owned), name: named }
    }

    /// The container if there is one, else the control group.
    pub fn shown(&self) -> Option<&str> {
        self.name.as_deref().or(self.cgroup.as_deref())
    }
}

/// The container that a control group's directory is named for.
fn name(directory: &str) -> Option<String> {
    let scope = directory.strip_suffix(".scope").unwrap_or(directory);
    if let Some(name) = directory.strip_prefix("lxc.payload.").or_else(|| scope.strip_prefix("machine-")) {
        return Some(name.to_owned());
    }
    // docker-ID.scope, libpod-ID.scope, cri-containerd-ID.scope, crio-ID.scope, or the bare id.
    let id = scope.rsplit('-').next()?;
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id[..12].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_known_by_their_control_groups() {
        let id = "0123456789abcdef".repeat(4);
        for (text, container) in [
            (format!("0::/system.slice/docker-{id}.scope\n"), Some("0123456789ab")),
            (format!("0::/machine.slice/libpod-{id}.scope/container\n"), Some("0123456789ab")),
            (format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope\n"), Some("0123456789ab")),
            (format!("12:memory:/docker/{id}\n0::/\n"), Some("0123456789ab")),
            ("0::/lxc.payload.web/init.scope\n".into(), Some("web")),
            ("0::/machine.slice/machine-web.scope\n".into(), Some("web")),
            ("0::/user.slice/user-0.slice/session-1.scope\n".into(), None),
            ("0::/\n".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(Container::parse(&text).name.as_deref(), container, "{text}");
        }
        assert_eq!(Container::parse("3:cpu:/a\n0::/\n").shown(), Some("/a"));
        assert_eq!(Container::parse("0::/\n").shown(), Some("/"));
    }
}
