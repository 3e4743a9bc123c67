package containerd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

func TestParseFlags(t *testing.T) {
	for line, want := range map[string]struct {
		flags   map[string]string
		command string
	}{
		"containerd":                                {map[string]string{}, ""},
		"containerd --config /a.toml":               {map[string]string{"config": "/a.toml"}, ""},
		"containerd -c /a.toml --root /x":           {map[string]string{"config": "/a.toml", "root": "/x"}, ""},
		"containerd --log-level=debug -c=/b/../a":   {map[string]string{"config": "/a"}, ""},
		"containerd -config /a.toml -l info":        {map[string]string{"config": "/a.toml"}, ""},
		"containerd -a unix:///run/x.sock":          {map[string]string{"address": "/run/x.sock"}, ""},
		"containerd --config":                       {map[string]string{}, ""},
		"-c /a.toml":                                {map[string]string{}, "/a.toml"},
		"containerd -c ./a.toml":                    {map[string]string{"config": "/work/a.toml"}, ""},
		"containerd --config=../a --root=":          {map[string]string{"config": "/a"}, ""},
		"containerd --config /a.toml config dump":   {map[string]string{"config": "/a.toml"}, "config"},
		"containerd --new-switch --state=/s config": {map[string]string{"state": "/s"}, "config"},
	} {
		flags, command := parseFlags(strings.Split(line, " "), "/work")
		require.Equal(t, want.flags, flags, line)
		require.Equal(t, want.command, command, line)
	}
	flags, _ := parseFlags([]string{"containerd", "-c", "a.toml"}, "")
	require.Empty(t, flags, "the working directory is not known")
}

// FuzzProcess: any user of the node can choose the content of these files.
func FuzzProcess(f *testing.F) {
	f.Add("containerd\x00--config\x00/a", "0::/system.slice/containerd.service\n", "PATH=/bin\x00A")
	f.Fuzz(func(t *testing.T, cmdline, cgroup, environ string) {
		flags, _ := parseFlags(strings.Split(cmdline, "\x00"), "/")
		for name, value := range flags {
			require.True(t, strings.HasPrefix(value, "/"), name)
		}
		if unit := unitOf(cgroup); unit != "" {
			require.Regexp(t, `^[A-Za-z0-9:_.\\@-]+\.service$`, unit)
		}
		environment(environ)
	})
}

func TestUnitOf(t *testing.T) {
	for text, want := range map[string]string{
		"0::/system.slice/k3s.service\n":                                                "k3s.service",
		"4:memory:/x.service\n1:name=systemd:/system.slice/rke2-server.service\n0::/\n": "rke2-server.service",
		"0::/system.slice/snap.microk8s.daemon-containerd.service\n":                    "snap.microk8s.daemon-containerd.service",
		"0::/system.slice/a.service/sub\n":                                              "a.service",
		"0::/user.slice/user-1000.slice/user@1000.service/a.service\n":                  "",
		"0::/user.slice/session-1.scope\n":                                              "",
		"0::/\n":                                                                        "",
		"0::/system.slice/$(reboot).service\n":                                          "",
		"0::/..":                                                                        "", "": "", "::": "",
	} {
		require.Equal(t, want, unitOf(text), "%q", text)
	}
}

// node is a root with processes.
type node struct {
	*testing.T
	root rootfs.Dir
}

func newNode(t *testing.T) node {
	n := node{t, rootfs.Dir(t.TempDir())}
	n.process(1, "systemd", "0", "/sbin/init", "/init.scope")
	return n
}

func (n node) put(name, text string) {
	n.Helper()
	require.NoError(n, os.MkdirAll(filepath.Dir(n.root.Entry(name)), 0o755))
	require.NoError(n, os.WriteFile(n.root.Entry(name), []byte(text), 0o755))
}

func (n node) process(pid int, name, uid, line, cgroup string) {
	n.Helper()
	dir := "/proc/" + []string{"", "1", "2", "3", "4", "5", "6", "7"}[pid]
	n.put(dir+"/comm", name+"\n")
	n.put(dir+"/status", "Uid:\t"+strings.Repeat(uid+"\t", 4)+"\n")
	n.put(dir+"/cmdline", strings.ReplaceAll(line, " ", "\x00")+"\x00")
	n.put(dir+"/cgroup", "0::"+cgroup+"\n")
	n.put(dir+"/environ", "PATH=/opt/bin:/usr/bin\x00CONTAINERD_CONFIG=/usr/share/containerd/config.toml\x00")
	require.NoError(n, os.MkdirAll(n.root.Entry(dir+"/ns"), 0o755))
	require.NoError(n, os.Symlink("mnt:[1]", n.root.Entry(dir+"/ns/mnt")))
	require.NoError(n, os.Symlink("pid:[1]", n.root.Entry(dir+"/ns/pid")))
	n.put("/usr/bin/"+name, "")
	require.NoError(n, os.Symlink("/usr/bin/"+name, n.root.Entry(dir+"/exe")))
}

func (n node) locate(w Wanted) (Located, error) { return Locate(n.Context(), n.root, w) }

const (
	dockers = "containerd --config /var/run/docker/containerd/containerd.toml"
	k3s     = "containerd -c /var/lib/rancher/k3s/agent/etc/containerd/config.toml -a /run/k3s/containerd/containerd.sock --state /run/k3s/containerd --root /var/lib/rancher/k3s/agent/containerd"
)

// TestLocateBesideDocker: k3s runs beside Docker and beside a user's process of the same name.
func TestLocateBesideDocker(t *testing.T) {
	n := newNode(t)
	n.put("/var/run/docker/containerd/containerd.toml", "disabled_plugins = ['io.containerd.grpc.v1.cri']\n[grpc]\naddress = '/run/docker/containerd/containerd.sock'\n")
	n.put("/var/lib/rancher/k3s/agent/etc/containerd/config.toml", "version = 3\n")
	n.process(2, "containerd", "0", dockers, "/system.slice/docker.service")
	n.process(3, "containerd", "0", k3s, "/system.slice/k3s.service")
	n.process(4, "containerd", "1000", "containerd --config /tmp/mine.toml", "/user.slice/x.service")
	n.process(5, "containerd", "0", "containerd config dump", "/user.slice/x.scope")
	got, err := n.locate(Wanted{})
	require.NoError(t, err)
	require.Equal(t, 3, got.PID)
	require.Equal(t, "k3s.service", got.Unit)
	require.Equal(t, "/run/k3s/containerd/containerd.sock", got.Address)
	require.Equal(t, "/var/lib/rancher/k3s/agent/containerd", got.Root)
	require.Equal(t, "/run/k3s/containerd", got.State)
	require.Equal(t, []string{"/opt/bin", "/usr/bin"}, got.Path)
	require.Equal(t, rootfs.Program{Path: "/usr/bin/containerd", Name: "containerd", Env: []string{"PATH=/opt/bin:/usr/bin"}}, got.Program)
	require.True(t, got.CRI)
	require.NoError(t, os.Remove(n.root.Entry("/proc/3/exe")))
	require.NoError(t, os.Symlink(n.root.Entry("/usr/bin/containerd"), n.root.Entry("/proc/3/exe")))
	again, err := n.locate(Wanted{})
	require.NoError(t, err)
	require.Equal(t, got.Program, again.Program, "as seen from outside of the root")
	require.Len(t, got.Others, 1)
	require.Equal(t, "pid 2, unit docker.service, --config /var/run/docker/containerd/containerd.toml, "+
		"--address /run/docker/containerd/containerd.sock, CRI disabled", got.Others[0].String())
	require.Equal(t, []string{
		"containerd with pid 4 is not root's: user IDs 1000 1000 1000 1000", `containerd with pid 5 runs the command "config", and is no daemon`,
	}, got.PassedOver)

	got, err = n.locate(Wanted{Address: "/run/docker/containerd/containerd.sock"})
	require.NoError(t, err)
	require.Equal(t, 2, got.PID, "a flag decides")
}

// TestLocateKubelets: if two have the CRI plugin, kubelet's is chosen.
func TestLocateKubelets(t *testing.T) {
	n := newNode(t)
	n.put("/etc/a.toml", "version = 2\n")
	n.put("/etc/b.toml", "version = 2\n[grpc]\naddress = '/run/b.sock'\n")
	n.process(2, "containerd", "0", "containerd --config /etc/a.toml", "/system.slice/a.service")
	n.process(3, "containerd", "0", "containerd --config=/etc/b.toml", "/system.slice/b.service")
	_, err := n.locate(Wanted{})
	require.ErrorContains(t, err, "more than one containerd runs")
	require.ErrorContains(t, err, "name one with --address:\n  pid 2, unit a.service, --config /etc/a.toml, --address /run/containerd/containerd.sock, CRI enabled\n  pid 3, unit b.service")

	n.process(4, "kubelet", "0", "kubelet --container-runtime-endpoint=unix:///run/b.sock", "/system.slice/kubelet.service")
	got, err := n.locate(Wanted{})
	require.NoError(t, err)
	require.Equal(t, 3, got.PID)
	n.put("/proc/4/cmdline", "kubelet\x00--config\x00/var/lib/kubelet/config.yaml\x00")
	n.put("/var/lib/kubelet/config.yaml", "kind: KubeletConfiguration\ncontainerRuntimeEndpoint: unix:///run/containerd/containerd.sock\n")
	got, err = n.locate(Wanted{})
	require.NoError(t, err)
	require.Equal(t, 2, got.PID)
	n.put("/proc/4/status", "Uid:\t1\t1\t1\t1\n")
	_, err = n.locate(Wanted{})
	require.ErrorContains(t, err, "more than one containerd runs", "a user's kubelet decides nothing")
}

// TestLocateRelative: a relative path is below the working directory of the process.
func TestLocateRelative(t *testing.T) {
	n := newNode(t)
	n.put("/srv/containerd/own.toml", "version = 2\nimports = ['/etc/x/*.toml']\n[grpc]\naddress = '/run/own.sock'\n")
	n.process(2, "containerd", "0", "containerd -c own.toml", "/system.slice/containerd.service")
	for _, target := range []string{"/srv/containerd", n.root.Entry("/srv/containerd")} {
		require.NoError(t, os.Symlink(target, n.root.Entry("/proc/2/cwd")))
		got, err := n.locate(Wanted{})
		require.NoError(t, err)
		require.Equal(t, "pid 2, unit containerd.service, --config /srv/containerd/own.toml, --address /run/own.sock, CRI enabled", got.String())
		require.NoError(t, os.Remove(n.root.Entry("/proc/2/cwd")))
	}
}

// TestConfigVariable: Flatcar's unit names the configuration by a variable.
func TestConfigVariable(t *testing.T) {
	n := newNode(t)
	n.process(2, "containerd", "0", "containerd --config /usr/share/containerd/config.toml", "/system.slice/containerd.service")
	const unit = "/usr/lib/systemd/system/containerd.service"
	for text, want := range map[string]bool{
		"ExecStart=/usr/bin/containerd --config ${CONTAINERD_CONFIG}\n":              true,
		"ExecStart=/usr/bin/containerd --config /usr/share/containerd/config.toml\n": false,
	} {
		n.put(unit, "[Service]\nEnvironment=CONTAINERD_CONFIG=/usr/share/containerd/config.toml\n"+text)
		got, err := n.locate(Wanted{})
		require.NoError(t, err)
		require.Equal(t, want, got.ConfigVariable, text)
	}
}

// TestLocateAtRest: the root is an image, or a node with a stopped containerd.
func TestLocateAtRest(t *testing.T) {
	n := newNode(t)
	got, err := n.locate(Wanted{})
	require.NoError(t, err)
	require.Equal(t, "not running, unit containerd.service, --config /etc/containerd/config.toml, --address /run/containerd/containerd.sock, CRI enabled", got.String())
	n.put("/etc/k0s/containerd.toml", "version = 2\n")
	n.put("/var/lib/k0s/bin/containerd", "")
	got, err = n.locate(Wanted{})
	require.NoError(t, err)
	require.Equal(t, "/var/lib/k0s/bin/containerd", got.Program.Path)
	require.Equal(t, "/run/k0s/containerd.sock", got.Address)
	n.put("/etc/containerd/config.toml", "version = 2\n")
	_, err = n.locate(Wanted{})
	require.ErrorContains(t, err, "there are several configurations: name one with --containerd-config: /etc/containerd/config.toml, /etc/k0s/containerd.toml")
	got, err = n.locate(Wanted{Config: "/etc/own.toml"})
	require.NoError(t, err)
	require.Equal(t, "/etc/own.toml", got.Config)
}

func TestClosed(t *testing.T) {
	n := newNode(t)
	require.NoError(t, Closed(n.root))
	for id, want := range map[string]string{
		"ID=bottlerocket\n": "its settings API knows no further runtime handler", "NAME=x\nID=\"talos\"\n": "CRICustomizationConfig",
	} {
		n.put("/etc/os-release", id)
		require.ErrorContains(t, Closed(n.root), want)
	}
	n.put("/etc/os-release", "ID=debian\n")
	require.NoError(t, Closed(n.root))
}
