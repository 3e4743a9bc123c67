//go:build race

package exit

const raceDetector = true
