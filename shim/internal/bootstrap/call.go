//go:build linux

package bootstrap

import (
	"errors"
	"flag"
	"fmt"
	"io"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// ActionStart is the action that starts a shim.
const ActionStart = "start"

// maxInput bounds what is read of the standard input. containerd's own library
// has the same bound (pkg/shim/shim.go, run).
const maxInput = 10 << 20

// Call is a call of the shim's program, as its flags describe it.
type Call struct {
	// Action is "start", "delete", or empty for the shim's server.
	Action string
	// ID and Namespace are those of the container.
	ID, Namespace string
	// Debug asks for log lines of level debug.
	Debug bool

	grpcAddress string
	binary      string
	query       bool // -v or -info
}

// ParseCall reads the flags of a call, without the program's name. It knows the
// flags of containerd 1.6 to 2.4. With another flag it returns the zero Call, which
// starts nothing: upstream's library refuses such a flag with its own words.
func ParseCall(args []string) Call {
	var c Call
	var ignored string
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&c.Debug, "debug", false, "")
	for _, name := range []string{"v", "version", "info"} {
		flags.BoolVar(&c.query, name, false, "")
	}
	flags.StringVar(&c.Namespace, "namespace", "", "")
	flags.StringVar(&c.ID, "id", "", "")
	flags.StringVar(&c.grpcAddress, "address", "", "")
	flags.StringVar(&c.binary, "publish-binary", "", "")
	for _, name := range []string{"bundle", "socket", "debug-socket"} {
		flags.StringVar(&ignored, name, "", "")
	}
	if flags.Parse(args) != nil {
		return Call{}
	}
	c.Action = flags.Arg(0)
	return c
}

// Starts reports whether the call asks to start a shim. A call without a
// namespace does not: upstream's library refuses the call before it reads anything.
func (c Call) Starts() bool {
	return c.Action == ActionStart && !c.query && c.Namespace != ""
}

// Serves reports whether the call is of the shim's server.
func (c Call) Serves() bool { return c.Action == "" }

// ReadInput returns the standard input of a start call.
func ReadInput(r io.Reader) ([]byte, error) {
	input, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	if len(input) > maxInput {
		return nil, fmt.Errorf("standard input is larger than %d bytes", maxInput)
	}
	return input, nil
}

// Current reports whether input belongs to a start call of containerd 2.3 or
// later. Options of an older one can decode as BootstrapParams, but do not repeat
// the flags (pkg/shim/compat.go, parseBootstrapParams).
func (c Call) Current(input []byte) bool {
	var params bootapi.BootstrapParams
	return len(input) > 0 && proto.Unmarshal(input, &params) == nil &&
		params.InstanceID == c.ID && params.Namespace == c.Namespace
}

// Params returns the parameters of a start call of containerd 1.6 to 2.2. input
// is its standard input: the runtime options as an Any, or nothing.
func (c Call) Params(input []byte, ttrpcAddress string) (*bootapi.BootstrapParams, error) {
	if c.ID == "" {
		return nil, errors.New("flag -id is empty; allowed: the ID of a container")
	}
	params := &bootapi.BootstrapParams{
		InstanceID:             c.ID,
		Namespace:              c.Namespace,
		LogLevel:               bootapi.LogLevel_LOG_LEVEL_INFO,
		ContainerdGrpcAddress:  c.grpcAddress,
		ContainerdTtrpcAddress: ttrpcAddress,
		ContainerdBinary:       c.binary,
	}
	if c.Debug {
		params.LogLevel = bootapi.LogLevel_LOG_LEVEL_DEBUG
	}
	if len(input) == 0 {
		return params, nil
	}
	var options anypb.Any
	if err := proto.Unmarshal(input, &options); err != nil {
		return nil, fmt.Errorf("standard input is neither BootstrapParams of %q in namespace %q nor an Any: %w", c.ID, c.Namespace, err)
	}
	runcOptions, err := RuncOptions(&options, "")
	if err != nil || runcOptions == nil {
		return params, err
	}
	return params, params.AddExtension(runcOptions)
}
