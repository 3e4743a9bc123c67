package web

import (
	"embed"
	"html/template"
	"net/http"
	"path"
)

// assets are the templates of the page, and the style and the script that the page loads.
//
//go:embed page.html events.html page.css page.js
var assets embed.FS

var templates = template.Must(template.ParseFS(assets, "*.html"))

// policy allows the page's own files and its form alone. No text becomes markup in the
// browser: the script may call none of the functions that do so (Trusted Types).
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; " +
	"frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// asset answers with a file of the page.
func asset(name, contentType string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		body, err := assets.ReadFile(path.Base(name))
		if err != nil {
			plain(w, http.StatusNotFound, name+" is not there\n")
			return
		}
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body) // the client is gone, then
	}
}

// wrongView is of a request that is refused.
type wrongView struct {
	Node    string
	Refresh int // 0: the page does not refresh by itself
	Lines   []string
}
