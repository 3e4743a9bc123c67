//go:build linux

package shimtest

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"google.golang.org/protobuf/proto"
)

// Protocol is how a version of containerd starts a shim, finds the shim after a restart, and
// calls it.
type Protocol string

const (
	// Current is the protocol of containerd 2.4: BootstrapParams and BootstrapResult,
	// bootstrap.json, task service v3.
	Current Protocol = "current"
	// Containerd23 is the protocol of containerd 2.3: as Current, but the shim answers version
	// 2, so that the further containers of a pod start as the first one.
	Containerd23 Protocol = "2.3"
	// Containerd17 is the protocol of containerd 1.6 and 1.7: flags and environment; the answer
	// is an address, which the shim also writes into the bundle; task service v2.
	Containerd17 Protocol = "1.7"
	// Containerd22 is the protocol of containerd 2.0 to 2.2: as Containerd17, and containerd
	// writes bootstrap.json. The version of an answer that is no JSON is 2.
	Containerd22 Protocol = "2.2"
)

// Protocols has all protocols.
var Protocols = []Protocol{Current, Containerd17, Containerd22, Containerd23}

// old reports whether the start call uses flags and environment.
func (p Protocol) old() bool { return p == Containerd17 || p == Containerd22 }

const protocolEnv = "SHIMTEST_PROTOCOL"

// ChosenProtocol returns the protocol in the environment variable SHIMTEST_PROTOCOL, or
// Current.
func ChosenProtocol(t testing.TB) Protocol {
	t.Helper()
	name, set := os.LookupEnv(protocolEnv)
	if !set {
		return Current
	}
	if !slices.Contains(Protocols, Protocol(name)) {
		t.Fatalf("%s=%q; allowed: %q", protocolEnv, name, Protocols)
	}
	return Protocol(name)
}

// answer parses the output of "start".
func (p Protocol) answer(out []byte) (*bootapi.BootstrapResult, error) {
	if p.old() {
		if len(out) == 0 || out[0] == '{' {
			return nil, fmt.Errorf("want a plain address")
		}
		return &bootapi.BootstrapResult{Version: 2, Protocol: "ttrpc", Address: string(out)}, nil
	}
	result := &bootapi.BootstrapResult{}
	if err := proto.Unmarshal(out, result); err != nil {
		return nil, err
	}
	want := int32(3)
	if p == Containerd23 {
		want = 2
	}
	if result.Version != want || result.Protocol != "ttrpc" {
		return nil, fmt.Errorf("version %d by %s, want %d by ttrpc", result.Version, result.Protocol, want)
	}
	return result, nil
}

// note writes the file into the bundle by which containerd finds the shim.
func (p Protocol) note(b *Bundle, result *bootapi.BootstrapResult) error {
	if p.old() {
		text, err := os.ReadFile(b.File("address"))
		if err != nil {
			return fmt.Errorf("the shim's address: %w", err)
		}
		if string(text) != result.Address {
			return fmt.Errorf("the shim answered %q and wrote %q", result.Address, text)
		}
	}
	if p == Containerd17 {
		return nil
	}
	data, err := json.Marshal(result)
	if err != nil {
		return err
	}
	return os.WriteFile(b.File("bootstrap.json"), data, 0o600)
}

// service returns the protocol's name of a task service, given the name of version 3.
func (p Protocol) service(name string) string {
	if p != Current && name == "containerd.task.v3.Task" {
		return "containerd.task.v2.Task"
	}
	return name
}
