package image

import (
	"errors"
	"strings"
)

// BinsFlag returns the function of a flag that fills bins, which has the folder of the
// programs for each architecture: ARCH=FOLDER, once for each.
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
