package install

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/oomwitness/oomwitness/shim/config"
)

// SettingsPath is the path of the shim's settings.
const SettingsPath = config.DefaultPath

// settingsMarker is the first line of every settings file of ours.
const settingsMarker = "# Written by \"oomwitness node setup\"; changes made here are lost.\n"

// settingsState reports whether there is a settings file, and whether it is ours.
func (o Options) settingsState() (there, ours bool, err error) {
	data, err := o.Root.ReadFile(SettingsPath)
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("settings: %w", err)
	}
	return true, bytes.HasPrefix(data, []byte(settingsMarker)), nil
}

// checkSettings refuses to overwrite the settings of the node's owner.
func (o Options) checkSettings() error {
	there, ours, err := o.settingsState()
	if err == nil && there && !ours && o.Settings != nil && *o.Settings != "" {
		return fmt.Errorf("%s is the node owner's: move it away, or leave out the settings for all nodes", SettingsPath)
	}
	return err
}

// installSettings writes the settings, or removes ours if Settings is "".
func (o Options) installSettings(result *Result) error {
	if o.Settings == nil {
		return nil
	}
	if *o.Settings == "" {
		return o.removeSettings(result)
	}
	if err := o.write(result, SettingsPath, bytesSource([]byte(settingsMarker+*o.Settings)), 0o644); err != nil {
		return fmt.Errorf("install the settings: %w", err)
	}
	return nil
}

func (o Options) removeSettings(result *Result) error {
	if _, ours, err := o.settingsState(); err != nil || !ours {
		return err
	}
	return o.remove(result, SettingsPath)
}
