package install

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// CommandName is this command's own binary. The shim runs the command beside itself to
// load the ledger (findLoader in shim/ledger.go), and so do the units.
const CommandName = "oomwitness"

// signName is a file beside the command. It says that install wrote the command.
const signName = CommandName + ".installed"

const signHead = "# Written by \"oomwitness install\". \"oomwitness uninstall\" removes the command of this checksum, and this file.\n"

// commandPath and signPath are paths as seen from inside the root.
func (o Options) commandPath() string { return path.Join(o.BinDir, CommandName) }

func (o Options) signPath() string { return path.Join(o.BinDir, signName) }

// sign is what install notes about the command.
type sign struct {
	// wrote are the SHA-256 sums of what install wrote: a killed install leaves the command
	// as it was, or the new one.
	wrote []string
	// replaced reports whether somebody else's command was there before. The last backup
	// has that command.
	replaced bool
}

// text returns the file of a sign.
func (s sign) text() []byte {
	out := []byte(signHead)
	for _, sum := range s.wrote {
		out = fmt.Appendf(out, "sha256 %s\n", sum)
	}
	if s.replaced {
		out = append(out, "replaced\n"...)
	}
	return out
}

// parseSign reads the file of a sign. Lines of no meaning are passed over.
func parseSign(text []byte) (s sign) {
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case key == "sha256" && len(value) == hex.EncodedLen(sha256.Size):
			s.wrote = append(s.wrote, value)
		case key == "replaced":
			s.replaced = true
		}
	}
	return s
}

// readSign returns the sign beside the command, and reports whether there is one.
func (o Options) readSign() (s sign, there bool, err error) {
	text, err := o.Root.ReadFile(o.signPath())
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err != nil {
		return s, false, fmt.Errorf("sign of the command: %w", err)
	}
	return parseSign(text), true, nil
}

// isOf reports whether install wrote a file.
func (s sign) isOf(file savedFile) bool {
	return file.there && file.link == "" && slices.Contains(s.wrote, sum(file.data))
}

func sum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// commandSource returns this command's own file, to copy.
func (o Options) commandSource() (string, error) {
	if o.Command != "" {
		return o.Command, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this command's file: %w", err)
	}
	return self, nil
}

// packaged is the path of the command in packages for Debian and RPM.
const packaged = "/usr/bin/" + CommandName

// notePackage notes that the installed command itself runs, while a package has another version
// of the command: a shell finds the installed command first.
func (o Options) notePackage(result *Result, command string) {
	if !sameFile(command, o.Root.Entry(o.commandPath())) || !o.Root.IsExecutable(packaged) {
		return
	}
	if same, err := fileSource(command).same(o.Root.Path(packaged)); err == nil && !same {
		result.note("%s is the installed command, and brings nothing new; for the version of the package run: %s install",
			o.commandPath(), packaged)
	}
}

// planLoader returns the file of this command, and reports whether units start it.
func (o Options) planLoader() (command string, units bool, err error) {
	if units, err = o.planUnit(); err != nil {
		return "", false, err
	}
	command, err = o.commandSource()
	return command, units, err
}

// installLoader puts in place what loads the ledger: the command, and its units if wanted.
func (o Options) installLoader(result *Result, command string, units bool) error {
	if err := o.installCommand(result, command); err != nil || !units {
		return err
	}
	return o.installUnits(result)
}

// installCommand copies the command to the folder of the shim. The sign is written before
// the copy. A command of somebody else is kept as a backup. The same command that is there
// already gets no sign: uninstall leaves that command.
func (o Options) installCommand(result *Result, command string) error {
	now, err := saveFile(o.Root.Entry(o.commandPath()))
	if err != nil {
		return fmt.Errorf("install the command: %w", err)
	}
	data, err := os.ReadFile(command)
	if err != nil {
		return fmt.Errorf("install the command: %w", err)
	}
	if now.there && now.link == "" && now.mode == 0o755 && bytes.Equal(now.data, data) {
		result.did("unchanged", o.commandPath())
		return nil
	}
	had, _, err := o.readSign()
	if err != nil {
		return err
	}
	ours := had.isOf(now)
	next := sign{wrote: []string{sum(data)}, replaced: had.replaced || now.there && !ours}
	if ours {
		next.wrote = append(next.wrote, sum(now.data))
	}
	if err := o.write(result, o.signPath(), bytesSource(next.text()), 0o644); err != nil {
		return fmt.Errorf("sign of the command: %w", err)
	}
	if now.there && !ours {
		if err := o.keepBackup(result, now.path, now, now.data); err != nil {
			return err
		}
	}
	if err := o.write(result, o.commandPath(), fileSource(command), 0o755); err != nil {
		return fmt.Errorf("install the command: %w", err)
	}
	return nil
}

// removeCommand removes the command that install wrote, or puts back the command that was
// there before. A command of somebody else stays.
func (o Options) removeCommand(result *Result) error {
	s, there, err := o.readSign()
	if err != nil || !there {
		return err
	}
	now, err := saveFile(o.Root.Entry(o.commandPath()))
	if err != nil {
		return err
	}
	last, _ := backupNames(now.path)
	backup := o.commandPath() + last
	switch {
	case s.isOf(now) && s.replaced && last != "":
		err = o.putBack(result, o.commandPath(), backup)
	case s.isOf(now):
		err = o.remove(result, o.commandPath())
	case last != "" && sameFile(now.path, now.path+last): // install was killed before the copy
		err = o.remove(result, backup)
	case now.there:
		result.note("%s is not the command that install wrote, and stays", o.commandPath())
	}
	if err != nil {
		return fmt.Errorf("remove the command: %w", err)
	}
	return o.remove(result, o.signPath())
}

// putBack moves a backup to where the file was.
func (o Options) putBack(result *Result, name, backup string) error {
	if !o.DryRun {
		target, from := o.Root.Entry(name), o.Root.Entry(backup)
		if err := errors.Join(o.changes.save(target, name), o.changes.save(from, backup)); err != nil {
			return err
		}
		if err := os.Rename(from, target); err != nil {
			return err
		}
	}
	result.did("update", name)
	result.did("remove", backup)
	return nil
}
