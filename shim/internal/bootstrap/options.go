//go:build linux

package bootstrap

import (
	"fmt"
	"path/filepath"
	"strings"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oomwitness/oomwitness/shim/config"
)

// The types of runtime options that the shim takes.
const (
	runcType    = "containerd.runc.v1.Options"
	runtimeType = "runtimeoptions.v1.Options"
)

// RuncOptions returns runtime options as runc's. Runc's own options pass. The
// generic runtimeoptions.v1.Options, which containerd's CRI plugin, ctr and
// Docker send to a runtime type that they do not know, are translated: TOML, as
// text or in a file, with the keys of a runc handler.
//
// cgroupsPath is the container's, or empty. Where no options came, or generic
// ones that do not mention SystemdCgroup, a path of three parts
// (slice:prefix:name) means runc's systemd driver. An absolute path is one of
// cgroupfs, colons or not. RuncOptions returns nil where there are no options then
// either.
//
// An error wraps errdefs.ErrInvalidArgument. The error names the key, and what is
// allowed.
func RuncOptions(options *anypb.Any, cgroupsPath string) (*anypb.Any, error) {
	var t table
	switch {
	case isType(options, runcType):
		return options, nil
	case isType(options, runtimeType):
		var err error
		if t, err = readGeneric(options.GetValue()); err != nil {
			return nil, fmt.Errorf("runtime options of type %s: %w: %w", runtimeType, err, errdefs.ErrInvalidArgument)
		}
	case options.GetTypeUrl() != "" || len(options.GetValue()) > 0:
		return nil, fmt.Errorf("runtime options are of type %q; allowed: %q, %q: %w",
			options.GetTypeUrl(), runcType, runtimeType, errdefs.ErrInvalidArgument)
	}
	if t.SystemdCgroup == nil && strings.Count(cgroupsPath, ":") == 2 && !filepath.IsAbs(cgroupsPath) {
		systemd := true
		t.SystemdCgroup = &systemd
	}
	if t == (table{}) {
		return nil, nil
	}
	value, err := proto.Marshal(t.runc())
	return &anypb.Any{TypeUrl: runcType, Value: value}, err
}

// TranslateExtensions translates the runtime options among the extensions of a
// start call, as [RuncOptions] does. Other extensions stay as they are.
func TranslateExtensions(params *bootapi.BootstrapParams) error {
	for _, extension := range params.GetExtensions() {
		if !isType(extension.GetValue(), runtimeType) {
			continue
		}
		options, err := RuncOptions(extension.GetValue(), "")
		if err != nil {
			return err
		}
		extension.Value = options
	}
	return nil
}

// RuncOptionsOf does as [RuncOptions] for an encoded Any.
func RuncOptionsOf(message []byte) ([]byte, error) {
	var options anypb.Any
	if err := proto.Unmarshal(message, &options); err != nil {
		return nil, fmt.Errorf("runtime options are no Any: %w", err)
	}
	translated, err := RuncOptions(&options, "")
	if err != nil || translated == nil {
		return nil, err
	}
	return proto.Marshal(translated)
}

// isType reports whether an Any has a type. Type URLs come with and without a
// prefix, and with the package's older name cri.runtimeoptions.v1.
func isType(any *anypb.Any, name string) bool {
	last := any.GetTypeUrl()[strings.LastIndexByte(any.GetTypeUrl(), '/')+1:]
	return strings.TrimPrefix(last, "cri.") == name
}

// readGeneric reads the options that a runtimeoptions.v1.Options holds or names.
func readGeneric(message []byte) (table, error) {
	path, body, err := decode(message)
	if err != nil {
		return table{}, err
	}
	where := "config_body"
	switch {
	case path != "" && len(body) > 0:
		return table{}, fmt.Errorf("config_path %q and a config_body are both set; allowed: one of them", path)
	case path != "":
		if !filepath.IsAbs(path) {
			return table{}, fmt.Errorf("config_path %q is not absolute", path)
		}
		where = path
		if body, err = config.ReadFile(path); err != nil {
			return table{}, fmt.Errorf("config_path: %w", err)
		}
	}
	if len(body) > config.MaxSize { // an error would quote the text
		return table{}, fmt.Errorf("%s: larger than %d bytes", where, config.MaxSize)
	}
	t, err := parseTOML(body)
	if err != nil {
		return table{}, fmt.Errorf("%s:%w", where, err)
	}
	return t, nil
}

// decode reads the fields of a runtimeoptions.v1.Options: 1 type_url, which only
// informs, 2 config_path, 3 config_body
// (containerd/api/types/runtimeoptions/v1/api.proto). The message's Go package
// would be one more in every shim.
func decode(message []byte) (path string, body []byte, err error) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return "", nil, protowire.ParseError(n)
		}
		message = message[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
				return "", nil, protowire.ParseError(n)
			}
			message = message[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(message)
		if n < 0 {
			return "", nil, protowire.ParseError(n)
		}
		switch number {
		case 2:
			path = string(value)
		case 3:
			body = value
		}
		message = message[n:]
	}
	return path, body, nil
}
