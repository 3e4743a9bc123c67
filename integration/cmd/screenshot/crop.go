package main

import (
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"os"
)

// crop cuts a picture: only its left part stays.
func crop(name string, width int) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	picture, err := png.Decode(file)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	part := image.NewNRGBA(image.Rect(0, 0, width, picture.Bounds().Dy()))
	draw.Draw(part, part.Bounds(), picture, picture.Bounds().Min, draw.Src)
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := png.Encode(out, part); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
