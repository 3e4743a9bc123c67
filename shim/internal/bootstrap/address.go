//go:build linux

package bootstrap

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
func WriteAddress(bundle, address string) error {
	tmp := filepath.Join(bundle, "."+AddressFile)
	if err := os.WriteFile(tmp, []byte(address), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(bundle, AddressFile))
}

// NoteAddress writes the bundle's address file by what bootstrap.json says, unless
// the file is there: containerd 1.6 and 1.7 know no other, and where one of them
// takes the place of a later version, it calls a shim without the file dead and
// kills the container. containerd from 2.0 on writes bootstrap.json before Create.
func NoteAddress(bundle string, read func(path string) ([]byte, error)) error {
	if _, err := os.Lstat(filepath.Join(bundle, AddressFile)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	data, err := read(filepath.Join(bundle, ResultFile))
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
	return WriteAddress(bundle, socketScheme+path)
}

// Socket returns the path of the socket of the bundle's shim. read reads a file
// of the bundle by its path, with a bound. Where both files are there, containerd
// goes by bootstrap.json, and so does Socket.
func Socket(bundle string, read func(path string) ([]byte, error)) (string, error) {
	data, err := read(filepath.Join(bundle, ResultFile))
	if err == nil {
		return parseResult(data)
	}
	if data, aerr := read(filepath.Join(bundle, AddressFile)); aerr == nil {
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
