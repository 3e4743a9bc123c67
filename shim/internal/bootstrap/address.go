//go:build linux

package bootstrap

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/oomwitness/oomwitness/shim/internal/bundle"
)

// The files in a bundle that say where the bundle's shim is reached. containerd
// from 2.0 on writes bootstrap.json, and migrates address to it
// (core/runtime/v2/shim.go, restoreBootstrapParams). With older versions the shim
// writes address.
const (
	ResultFile  = "bootstrap.json"
	AddressFile = "address"
)

const socketScheme = "unix://"

// WriteAddress writes the bundle's address file, atomically.
func WriteAddress(dir, address string) error {
	return bundle.ReplaceFile(filepath.Join(dir, AddressFile), []byte(address), 0o644)
}

// NoteAddress writes the bundle's address file by what bootstrap.json says, unless
// the file is there: containerd 1.6 and 1.7 know no other, and where one of them
// takes the place of a later version, it calls a shim without the file dead and
// kills the container. containerd from 2.0 on writes bootstrap.json before Create.
func NoteAddress(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, AddressFile)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	data, err := bundle.ReadFile(filepath.Join(dir, ResultFile))
	if errors.Is(err, os.ErrNotExist) { // not of a containerd's making
		return nil
	}
	if err != nil {
		return err
	}
	path, err := parseResult(data)
	if err != nil {
		return err
	}
	return WriteAddress(dir, socketScheme+path)
}

// Socket returns the path of the socket of the bundle's shim. Where both files are
// there, containerd goes by bootstrap.json, and so does Socket.
func Socket(dir string) (string, error) {
	data, err := bundle.ReadFile(filepath.Join(dir, ResultFile))
	if err == nil {
		return parseResult(data)
	}
	if data, aerr := bundle.ReadFile(filepath.Join(dir, AddressFile)); aerr == nil {
		return parseAddress(strings.TrimSpace(string(data)))
	}
	return "", err
}

// parseResult reads containerd's bootstrap.json. containerd takes a file that is
// no JSON for a plain address (core/runtime/v2/shim.go, parseStartResponse).
func parseResult(data []byte) (string, error) {
	var result struct {
		Address string `json:"address"`
	}
	if err := json.Unmarshal(data, &result); err != nil {
		return parseAddress(strings.TrimSpace(string(data)))
	}
	return parseAddress(result.Address)
}

func parseAddress(address string) (string, error) {
	path, ok := strings.CutPrefix(address, socketScheme)
	if !ok || !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0) {
		return "", fmt.Errorf("address %q, allowed: unix:// and an absolute path", address)
	}
	return path, nil
}
