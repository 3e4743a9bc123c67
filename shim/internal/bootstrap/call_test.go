//go:build linux

package bootstrap

import (
	"bytes"
	"strings"
	"testing"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// start is how containerd 1.6 to 2.4 call a shim (runtime/v2/shim/util.go, Command).
var start = []string{"-namespace", "k8s.io", "-address", "/run/containerd/containerd.sock",
	"-publish-binary", "/usr/bin/containerd", "-id", "c1", "-debug", "start"}

func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	require.NoError(t, err)
	return data
}

func TestParseCall(t *testing.T) {
	c := ParseCall(start)
	require.True(t, c.Starts())
	require.Equal(t, Call{Action: "start", ID: "c1", Namespace: "k8s.io", Debug: true,
		grpcAddress: "/run/containerd/containerd.sock", binary: "/usr/bin/containerd"}, c)

	for name, args := range map[string][]string{
		"delete":           {"-namespace", "k8s.io", "-id", "c1", "-bundle", "/b", "delete"},
		"the server":       {"-namespace", "k8s.io", "-id", "c1", "-address", "/a"},
		"version":          {"-v", "-namespace", "k8s.io", "start"},
		"info":             {"-info", "-namespace", "k8s.io", "start"},
		"no namespace":     {"-id", "c1", "start"},
		"start comes last": {"-namespace", "k8s.io", "delete", "start"},
	} {
		require.False(t, ParseCall(args).Starts(), name)
	}
	for _, args := range [][]string{{"-unknown", "start"}, {"-id"}, {"-debug=maybe", "start"}, {"-h"}} {
		require.Equal(t, Call{}, ParseCall(args), "%q", args)
	}
}

// Each form of standard input, and what is made of it.
func TestStandardInput(t *testing.T) {
	c := ParseCall(start)
	runc, err := anypb.New(&runcoptions.Options{ShimCgroup: "/shims", BinaryName: "crun"})
	require.NoError(t, err)
	runc.TypeUrl = runcType // without a prefix, as containerd's typeurl writes it

	current := encoded(t, &bootapi.BootstrapParams{InstanceID: "c1", Namespace: "k8s.io"})
	require.True(t, c.Current(current))
	for name, input := range map[string][]byte{
		"nothing":                       nil,
		"runc's options":                encoded(t, runc),
		"parameters of another ID":      encoded(t, &bootapi.BootstrapParams{InstanceID: "c2", Namespace: "k8s.io"}),
		"parameters of another space":   encoded(t, &bootapi.BootstrapParams{InstanceID: "c1", Namespace: "moby"}),
		"an Any that reads like an ID":  encoded(t, &anypb.Any{TypeUrl: "c1", Value: []byte("moby")}),
		"no protobuf":                   []byte("{}"),
		"parameters that are cut short": current[:len(current)-1],
	} {
		require.False(t, c.Current(input), name)
	}

	params, err := c.Params(encoded(t, runc), "/run/containerd/containerd.sock.ttrpc")
	require.NoError(t, err)
	require.Equal(t, "c1", params.InstanceID)
	require.Equal(t, "k8s.io", params.Namespace)
	require.Equal(t, bootapi.LogLevel_LOG_LEVEL_DEBUG, params.LogLevel)
	require.Equal(t, "/run/containerd/containerd.sock", params.ContainerdGrpcAddress)
	require.Equal(t, "/run/containerd/containerd.sock.ttrpc", params.ContainerdTtrpcAddress)
	require.Equal(t, "/usr/bin/containerd", params.ContainerdBinary)
	require.Nil(t, params.SocketDir, "upstream's default")
	var found runcoptions.Options
	ok, err := params.FindExtension(&found)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "/shims", found.ShimCgroup)

	c.Debug = false
	for _, input := range [][]byte{nil, encoded(t, &anypb.Any{TypeUrl: runtimeType})} {
		params, err = c.Params(input, "")
		require.NoError(t, err)
		require.Equal(t, bootapi.LogLevel_LOG_LEVEL_INFO, params.LogLevel)
		require.Empty(t, params.Extensions)
	}
}

func TestBadStandardInput(t *testing.T) {
	c := Call{Action: ActionStart, ID: "c1", Namespace: "k8s.io"}
	for input, want := range map[string]string{
		"{}": "neither BootstrapParams",
		string(encoded(t, &bootapi.BootstrapParams{InstanceID: "c2", Namespace: "k8s.io"})): `type "c2"; allowed: "containerd.runc.v1.Options"`,
		string(encoded(t, &anypb.Any{TypeUrl: "x.y/Options", Value: []byte("v")})):          `type "x.y/Options"`,
	} {
		_, err := c.Params([]byte(input), "")
		require.ErrorContains(t, err, want)
	}
	c.ID = ""
	_, err := c.Params(nil, "")
	require.ErrorContains(t, err, "-id is empty")

	_, err = ReadInput(bytes.NewReader(make([]byte, maxInput+1)))
	require.ErrorContains(t, err, "larger than")
	got, err := ReadInput(strings.NewReader("abc"))
	require.NoError(t, err)
	require.Equal(t, "abc", string(got))
}

// FuzzCall: whatever a call looks like, it is taken for one kind of call, and
// parameters repeat the flags.
func FuzzCall(f *testing.F) {
	f.Add(strings.Join(start, "\n"), []byte(nil))
	f.Add("-namespace\nk8s.io\n-id\nc\nstart", []byte("\n\x01c\x12\x06k8s.io"))
	f.Add("-namespace=k8s.io\n--id=c\nstart", []byte("\n\x1acontainerd.runc.v1.Options"))
	f.Fuzz(func(t *testing.T, args string, input []byte) {
		c := ParseCall(strings.Split(args, "\n"))
		if !c.Starts() || c.Current(input) {
			return
		}
		params, err := c.Params(input, "a")
		if err != nil {
			return
		}
		require.Equal(t, c.ID, params.InstanceID)
		require.NotEmpty(t, params.InstanceID)
		_, err = proto.Marshal(params)
		if err != nil { // flags that are no UTF-8
			require.ErrorContains(t, err, "UTF-8")
		}
	})
}
