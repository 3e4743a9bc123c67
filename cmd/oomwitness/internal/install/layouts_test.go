package install_test

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/stretchr/testify/require"
)

// layout is the layout of a node, as a distribution makes it.
type layout struct {
	name, version string
	// program is the path of containerd's program. flags are the flags of the node's
	// containerd, and env is its environment beside PATH.
	// environment beside PATH.
	program string
	flags   func() []string
	env     func() []string
	address string
	unit    string
	// bin is the folder for programs.
	bin string
	// files are the files of a new node, and readOnly the folders that are mounted read-only.
	files    map[string]string
	readOnly []string
	// writtenBy is the containerd whose default configuration is the main file, as kubeadm's
	// guides say.
	writtenBy string
	// made are the files that generate makes at each start.
	made     []string
	generate func(*liveNode)
	// watch restarts containerd when a folder changes, until it is stopped.
	watch func(*liveNode) (stop func())
	// edit says that a file of the node's owner has to be edited.
	edit bool
}

// always returns a function that returns the flags.
func always(flags ...string) func() []string { return func() []string { return flags } }

const (
	conf2 = `
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  enable_selinux = false
  sandbox_image = "example.invalid/pause:3.6"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.other]
  runtime_type = "io.containerd.other.v2"
`
	conf3 = `
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "native"
[plugins.'io.containerd.cri.v1.runtime']
  enable_selinux = false
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.other]
  runtime_type = "io.containerd.other.v2"
`
	mainFile = "/etc/containerd/config.toml"
	socket   = "/run/containerd/containerd.sock"
)

// plain returns a node with containerd from a package.
func plain(name, version, main string) layout {
	l := layout{
		name: name, version: version, program: "/usr/bin/containerd", address: socket, unit: "containerd.service",
		bin: "/usr/local/bin", files: map[string]string{}, edit: true, flags: always(), env: always(),
	}
	if main != "" {
		l.files[mainFile] = main
	}
	return l
}

// byDefault returns a node whose main file is the default of a containerd, with SystemdCgroup.
// The default of 2.2 and later imports a folder.
func byDefault(writtenBy, version string) layout {
	l := plain("kubeadm, written by "+writtenBy, version, "")
	l.writtenBy, l.edit = writtenBy, writtenBy < "2.2"
	return l
}

// layouts returns the nodes that are in use.
func layouts() []layout {
	flatcar := plain("Flatcar", "2.0", "")
	flatcar.files["/usr/share/containerd/config.toml"] = "version = 2\n" + conf2
	flatcar.files["/usr/lib/systemd/system/containerd.service"] = "[Service]\nEnvironment=CONTAINERD_CONFIG=/usr/share/containerd/config.toml\nExecStart=/usr/bin/containerd --config ${CONTAINERD_CONFIG}\n"
	flatcar.readOnly, flatcar.bin = []string{"/usr"}, "/opt/bin"
	flatcar.flags = func() []string {
		config := "/usr/share/containerd/config.toml"
		if _, err := os.Stat("/etc/systemd/system/containerd.service.d/50-oomwitness.conf"); err == nil {
			config = mainFile
		}
		return []string{"--config", config}
	}
	flatcar.env = func() []string { return []string{"CONTAINERD_CONFIG=" + flatcar.flags()[1]} }
	older := flatcar
	older.version = "1.7"
	cos := plain("GKE's COS", "1.7", "version = 2\n"+conf2)
	cos.readOnly, cos.bin = []string{"/usr"}, "/home/kubernetes/bin"
	return []layout{
		plain("Debian's package", "1.6", ""),
		plain("Debian's package", "1.7", ""),
		plain("Docker's package", "2.2", "disabled_plugins = []\n"),
		plain("kubeadm", "1.7", "version = 2\n"+conf2),
		plain("kubeadm", "2.0", "version = 3\nimports = []\n"+conf3),
		plain("kubeadm", "2.2", "version = 3\nimports = []\n"+conf3),
		plain("kubeadm", "2.4", "version = 3\n"+conf3),
		byDefault("1.7", "1.7"), byDefault("1.7", "2.2"), byDefault("2.0", "2.0"), byDefault("2.2", "2.2"), byDefault("2.4", "2.4"),
		plain("EKS", "2.2", "version = 3\nroot = \"/var/lib/containerd\"\nstate = \"/run/containerd\"\n[grpc]\naddress = \""+socket+"\"\n"+conf3),
		plain("AKS", "1.7", "version = 2\noom_score = -999\n"+conf2),
		plain("kind", "2.1", "version = 2\n"+conf2),
		plain("minikube", "2.3", "version = 2\nroot = \"/var/lib/containerd\"\nstate = \"/run/containerd\"\n"+conf2),
		cos, flatcar, older,
		rancher("k3s", "k3s.service", "1.7", ""),
		rancher("k3s", "k3s-agent.service", "2.2", "imports = [\"/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.d/*.toml\"]\n"),
		rancher("RKE2", "rke2-server.service", "2.0", ""),
		rancher("RKE2", "rke2-agent.service", "2.3", "imports = [\"/var/lib/rancher/rke2/agent/etc/containerd/config-v3.toml.d/*.toml\"]\n"),
		withTemplate(rancher("k3s", "k3s.service", "1.7", "")), withWholeTemplate(rancher("RKE2", "rke2-server.service", "2.2", "")),
		k0s("1.7"), k0s("2.0"),
		microK8s("1.7"),
	}
}

// rancher returns k3s or RKE2. The configuration is made at each start, from a template if
// there is one. The version of containerd decides which template.
func rancher(name, unit, version, imports string) layout {
	dir := "/var/lib/rancher/" + strings.ToLower(name) + "/agent/etc/containerd/"
	base, tmpl := "version = 2\n"+conf2, "config.toml.tmpl"
	if version[0] == '2' {
		base, tmpl = "version = 3\n"+imports+conf3, "config-v3.toml.tmpl"
	}
	base = "# File generated by " + strings.ToLower(name) + ". DO NOT EDIT. Use config.toml.tmpl instead.\n" + base
	const run = "/run/k3s/containerd"
	l := layout{
		name: name, version: version, program: "/var/lib/rancher/" + strings.ToLower(name) + "/data/x/bin/containerd", address: run + "/containerd.sock",
		unit: unit, bin: "/usr/local/bin", made: []string{dir + "config.toml"},
		flags: always("-c", dir+"config.toml", "-a", run+"/containerd.sock", "--state", run, "--root", filepath.Dir(filepath.Dir(filepath.Dir(dir)))+"/containerd"),
		env:   always(),
	}
	l.generate = func(n *liveNode) {
		text := `{{ template "base" . }}`
		if own, err := os.ReadFile(dir + tmpl); err == nil {
			text = string(own)
		}
		made := template.Must(template.New("").Parse(text))
		template.Must(made.New("base").Parse(base))
		var out bytes.Buffer
		require.NoError(n, made.Execute(&out, nil))
		n.write(dir+"config.toml", out.String())
	}
	return l
}

// withTemplate returns a node whose owner has a template.
func withTemplate(l layout) layout {
	l.name += " with a template"
	l.files = map[string]string{filepath.Dir(l.made[0]) + "/config.toml.tmpl": "{{ template \"base\" . }}\n" +
		"[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.mine]\n  runtime_type = \"io.containerd.mine.v2\"\n"}
	l.edit = true
	return l
}

// withWholeTemplate returns a node whose owner has a template that does not include the
// generator's: the file that is made of it does not say who made it.
func withWholeTemplate(l layout) layout {
	l.name += " with a whole template"
	l.files = map[string]string{filepath.Dir(l.made[0]) + "/config-v3.toml.tmpl": "version = 3\n{{ if true }}# the owner's{{ end }}\n" + conf3}
	l.edit = true
	return l
}

// k0s returns a k0s node. k0s merges the files of a folder into a configuration for CRI, and
// restarts containerd when the folder changes.
func k0s(version string) layout {
	const main, folder, cri = "/etc/k0s/containerd.toml", "/etc/k0s/containerd.d", "/run/k0s/containerd-cri.toml"
	l := layout{
		name: "k0s", version: version, program: "/var/lib/k0s/bin/containerd", address: "/run/k0s/containerd.sock", unit: "k0sworker.service",
		bin: "/usr/local/bin", made: []string{main},
		flags: always("--root=/var/lib/k0s/containerd", "--state=/run/k0s/containerd", "--address=/run/k0s/containerd.sock", "--log-level=info", "--config="+main),
		env:   always(),
		files: map[string]string{folder + "/own.toml": "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nmax_container_log_line_size = 4096\n"},
	}
	l.generate = func(n *liveNode) {
		merged := map[string]any{}
		require.NoError(n, toml.Unmarshal([]byte("version = 2\n"+conf2), &merged))
		files, err := filepath.Glob(folder + "/*.toml")
		require.NoError(n, err)
		for _, name := range files {
			text, err := os.ReadFile(name)
			require.NoError(n, err)
			var patch map[string]any
			require.NoError(n, toml.Unmarshal(text, &patch))
			deepMerge(merged, patch)
		}
		text, err := toml.Marshal(merged)
		require.NoError(n, err)
		n.write(cri, string(text))
		n.write(main, "# k0s_managed=true\n# This is a placeholder configuration for k0s managed containerd.\nversion = 2\nimports = [\""+cri+"\"]\n")
	}
	l.watch = func(n *liveNode) func() {
		done, ended := make(chan struct{}), make(chan struct{})
		state := func() string {
			out, _ := exec.Command("sh", "-c", "cat "+folder+"/*.toml").Output()
			return string(out)
		}
		go func() {
			defer close(ended)
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for was := state(); ; {
				select {
				case <-done:
					return
				case <-tick.C:
				}
				if now := state(); now != was {
					was = now
					n.stop()
					n.start()
				}
			}
		}()
		return func() { close(done); <-ended }
	}
	return l
}

func deepMerge(into, from map[string]any) {
	for key, value := range maps.All(from) {
		a, isTable := into[key].(map[string]any)
		b, both := value.(map[string]any)
		if isTable && both {
			deepMerge(a, b)
			continue
		}
		into[key] = value
	}
}

// microK8s returns a MicroK8s node. Its configuration is made of a template with variables, by
// sed.
func microK8s(version string) layout {
	const args = "/var/snap/microk8s/1/args/"
	l := layout{
		name: "MicroK8s", version: version, program: "/snap/microk8s/1/bin/containerd", address: "/var/snap/microk8s/common/run/containerd.sock",
		unit: "snap.microk8s.daemon-containerd.service", bin: "/var/snap/microk8s/common/bin", edit: true,
		made: []string{args + "containerd.toml"},
		flags: always("--config", args+"containerd.toml", "--root", "/var/snap/microk8s/common/var/lib/containerd",
			"--state", "/var/snap/microk8s/common/run/containerd", "--address", "/var/snap/microk8s/common/run/containerd.sock"),
		env: always(),
		files: map[string]string{args + "containerd-template.toml": "version = 2\noom_score = 0\n" +
			strings.NewReplacer(`"io.containerd.runc.v2"`, `"${RUNTIME_TYPE}"`, `"native"`, `"${SNAPSHOTTER}"`).Replace(conf2)},
	}
	l.generate = func(n *liveNode) {
		text, err := os.ReadFile(args + "containerd-template.toml")
		require.NoError(n, err)
		n.write(args+"containerd.toml", strings.NewReplacer("${RUNTIME_TYPE}", "io.containerd.runc.v2", "${SNAPSHOTTER}", "native").Replace(string(text)))
	}
	return l
}
