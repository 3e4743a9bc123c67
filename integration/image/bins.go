package image

import (
	"errors"
	"strings"
)

// BinsFlag returns the function of a flag ARCH=FOLDER, given once for each architecture. The
// function sets bins[ARCH] to the folder of the programs.
func BinsFlag(bins map[string]string) func(text string) error {
	return func(text string) error {
		arch, dir, ok := strings.Cut(text, "=")
		if !ok {
			return errors.New("want ARCH=FOLDER")
		}
		bins[arch] = dir
		return nil
	}
}
