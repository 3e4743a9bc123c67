// Command screenshot makes the documentation's pictures out of a real run: of the agent's page
// as saved from a node, and of the text that a command printed there.
//
//	curl -s http://127.0.0.1:8080/ >page.html           on the node
//	curl -s http://127.0.0.1:8080/page.css >page.css    on the node
//	oomwitness trace --follow=false >trace.txt          on the node
//	screenshot --page page.html --text trace.txt --out docs/images
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "screenshot:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("screenshot", flag.ContinueOnError)
	page := flags.String("page", "", "file with the agent's page; page.css is beside the file")
	text := flags.String("text", "", "file with what a command printed")
	command := flags.String("command", "oomwitness trace --follow=false", "that command")
	out := flags.String("out", "", "folder for the pictures")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" || *page == "" && *text == "" {
		return errors.New("--out, and --page or --text, have to be given")
	}
	for _, tool := range []string{"chromium", "pngquant"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("needs %s: apt-get install %[1]s", tool)
		}
	}
	work, err := os.MkdirTemp("", "screenshot-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	b := browser{work: work, out: *out}
	if *page != "" {
		err = b.page(ctx, *page)
	}
	if err == nil && *text != "" {
		err = b.text(ctx, *text, *command)
	}
	return err
}

// browser writes pictures into the folder out, and has the folder work for files of its own.
type browser struct{ work, out string }

// narrow shows a page at the width of a phone. A browser's window cannot be so narrow, a frame
// can.
const narrow = `<!DOCTYPE html><style>body{margin:0}</style><iframe src="page.html" width="390" height="1200" style="border:0"></iframe>`

func (b browser) page(ctx context.Context, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	style, err := os.ReadFile(filepath.Join(filepath.Dir(file), "page.css"))
	if err != nil {
		return err
	}
	// The picture shows the newest event with its details open.
	opened := strings.Replace(string(text), "<details>", "<details open>", 1)
	for name, content := range map[string]string{"page.html": string(text), "opened.html": opened, "narrow.html": narrow, "page.css": string(style)} {
		if err := os.WriteFile(filepath.Join(b.work, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	for _, s := range []shot{
		{"opened.html", "page-light.png", 1280, 1000, false},
		{"opened.html", "page-dark.png", 1280, 1000, true},
		{"narrow.html", "page-phone.png", 390, 1200, false},
	} {
		if err := b.take(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

var terminal = template.Must(template.New("").Parse(`<!DOCTYPE html><meta charset="utf-8"><style>
body { margin: 0; padding: 16px 20px; background: #101419; color: #e6e9ee; }
pre { margin: 0; font: 13px/1.5 "DejaVu Sans Mono", monospace; white-space: pre; }
b { color: #8ab8ff; font-weight: 400; }
</style><pre><b># {{.Command}}</b>
{{.Text}}</pre>`))

// Sizes in pixels: of a terminal's character and line, and of the border around the text.
const (
	charWidth, lineHeight = 7.9, 19.5
	around                = 44
	maxLines              = 40
)

func (b browser) text(ctx context.Context, file, command string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	lines = lines[:min(len(lines), maxLines)]
	longest := 0
	for _, line := range lines {
		longest = max(longest, len([]rune(line)))
	}
	page, err := os.Create(filepath.Join(b.work, "terminal.html"))
	if err != nil {
		return err
	}
	defer page.Close()
	if err := terminal.Execute(page, map[string]string{"Command": command, "Text": strings.Join(lines, "\n")}); err != nil {
		return err
	}
	width, height := int(float64(longest)*charWidth)+around, int(float64(len(lines)+1)*lineHeight)+around
	return b.take(ctx, shot{"terminal.html", "trace.png", width, height, true})
}

type shot struct {
	page, name    string
	width, height int
	dark          bool
}

// Limits of one picture: time to make it, its bytes, its least width in pixels.
const (
	wait    = 2 * time.Minute
	maxSize = 150 << 10
	least   = 500 // the narrowest window of the browser
)

func (b browser) take(ctx context.Context, s shot) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	scheme := "1"
	if s.dark {
		scheme = "0"
	}
	raw := filepath.Join(b.work, s.name)
	out, err := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
		"--user-data-dir="+filepath.Join(b.work, "profile"), "--blink-settings=preferredColorScheme="+scheme,
		fmt.Sprintf("--window-size=%d,%d", max(s.width, least), s.height), "--screenshot="+raw,
		"file://"+filepath.Join(b.work, s.page)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("chromium: %w: %s", err, out)
	}
	if s.width < least {
		if err := crop(raw, s.width); err != nil {
			return err
		}
	}
	final := filepath.Join(b.out, s.name)
	out, err = exec.CommandContext(ctx, "pngquant", "--force", "--speed=1", "--strip", "--output="+final, "64", raw).CombinedOutput()
	if err != nil {
		return fmt.Errorf("pngquant: %w: %s", err, out)
	}
	info, err := os.Stat(final)
	if err != nil {
		return err
	}
	if info.Size() > maxSize {
		return fmt.Errorf("%s has %d bytes: at most %d are wanted", final, info.Size(), maxSize)
	}
	fmt.Printf("%s %d bytes\n", final, info.Size())
	return nil
}
