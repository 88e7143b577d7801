package main

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand"
	"net/http"
	"strconv"
	"time"
)

// What a handler saw of a request with a body.
type seen struct {
	Method           string            `json:"method"`
	Host             string            `json:"host"`
	Length           int64             `json:"length"`
	TransferEncoding []string          `json:"transferEncoding"`
	Bytes            int64             `json:"bytes"`
	Sha256           string            `json:"sha256"`
	Headers          http.Header       `json:"headers"`
	Trailers         map[string]string `json:"trailers"`
}

func newHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", hello)
	mux.HandleFunc("/checksum", checksum)
	mux.HandleFunc("/bytes", randomBytes)
	mux.HandleFunc("/chunked", chunked)
	mux.HandleFunc("/trailers", trailers)
	mux.HandleFunc("/gzip", compressed)
	mux.HandleFunc("/early", early)
	mux.HandleFunc("/duplex", duplex)
	mux.HandleFunc("/until-close", untilClose)
	mux.HandleFunc("/broken", broken)
	mux.HandleFunc("/hints", hints)
	mux.HandleFunc("/status/{code}", status)
	mux.HandleFunc("/websocket", echoMessages)
	return mux
}

// A short text, or not modified if the client has it.
func hello(response http.ResponseWriter, request *http.Request) {
	response.Header().Set("ETag", `"one"`)
	if request.Header.Get("If-None-Match") == `"one"` {
		response.WriteHeader(http.StatusNotModified)
		return
	}
	response.Header().Set("Content-Length", "6")
	_, _ = io.WriteString(response, "hello\n")
}

// Reads the body to its end, and says what it was.
func checksum(response http.ResponseWriter, request *http.Request) {
	hash := sha256.New()
	count, err := io.Copy(hash, request.Body)
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	trailers := map[string]string{}
	for name := range request.Trailer {
		trailers[name] = request.Trailer.Get(name)
	}
	response.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(response).Encode(seen{
		Method:           request.Method,
		Host:             request.Host,
		Length:           request.ContentLength,
		TransferEncoding: request.TransferEncoding,
		Bytes:            count,
		Sha256:           hex.EncodeToString(hash.Sum(nil)),
		Headers:          request.Header,
		Trailers:         trailers,
	})
}

// As many bytes as `size` says, the same ones each time, with their checksum in `X-Sha256`.
func randomBytes(response http.ResponseWriter, request *http.Request) {
	size, _ := strconv.ParseInt(request.FormValue("size"), 10, 64)
	hash := sha256.New()
	_, _ = io.CopyN(hash, rand.New(rand.NewSource(7)), size)
	response.Header().Set("X-Sha256", hex.EncodeToString(hash.Sum(nil)))
	if request.FormValue("chunked") == "" {
		response.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	}
	_, _ = io.CopyN(response, rand.New(rand.NewSource(7)), size)
}

// A line now and then, each a chunk of its own.
func chunked(response http.ResponseWriter, request *http.Request) {
	lines, _ := strconv.Atoi(request.FormValue("lines"))
	for line := range lines {
		_, _ = io.WriteString(response, "line "+strconv.Itoa(line)+"\n")
		_ = http.NewResponseController(response).Flush()
		time.Sleep(10 * time.Millisecond)
	}
}

// A body whose checksum comes behind it.
func trailers(response http.ResponseWriter, _ *http.Request) {
	response.Header().Set("Trailer", "X-Sha256")
	_, _ = io.WriteString(response, "announced\n")
	sum := sha256.Sum256([]byte("announced\n"))
	response.Header().Set("X-Sha256", hex.EncodeToString(sum[:]))
	response.Header().Set(http.TrailerPrefix+"X-Not-Announced", "there")
}

func compressed(response http.ResponseWriter, _ *http.Request) {
	response.Header().Set("Content-Encoding", "gzip")
	response.Header().Set("Vary", "Accept-Encoding")
	writer := gzip.NewWriter(response)
	for range 1000 {
		_, _ = io.WriteString(writer, "the same line over and over\n")
	}
	_ = writer.Close()
}

// Answers before the body is there, of which it reads nothing.
func early(response http.ResponseWriter, _ *http.Request) {
	response.WriteHeader(http.StatusRequestEntityTooLarge)
	_, _ = io.WriteString(response, "too large\n")
}

// Sends back each piece of the body as it comes; ends when the body does.
func duplex(response http.ResponseWriter, request *http.Request) {
	controller := http.NewResponseController(response)
	_ = controller.EnableFullDuplex()
	_ = controller.Flush()
	buffer := make([]byte, 64<<10)
	for {
		count, err := request.Body.Read(buffer)
		_, _ = response.Write(buffer[:count])
		_ = controller.Flush()
		if err != nil {
			return
		}
	}
}

// A body that ends with the connection, of which only this half is closed.
func untilClose(response http.ResponseWriter, _ *http.Request) {
	connection, _, err := http.NewResponseController(response).Hijack()
	if err != nil {
		return
	}
	defer connection.Close()
	_, _ = io.WriteString(connection, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
	for range 3 {
		_, _ = io.WriteString(connection, "until the end\n")
		time.Sleep(10 * time.Millisecond)
	}
	if half, ok := connection.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, connection)
}

// Breaks off in the middle of a body.
func broken(response http.ResponseWriter, request *http.Request) {
	if request.FormValue("chunked") == "" {
		response.Header().Set("Content-Length", "1000")
	}
	_, _ = io.WriteString(response, "half of it")
	_ = http.NewResponseController(response).Flush()
	panic(http.ErrAbortHandler)
}

// Says something before the answer.
func hints(response http.ResponseWriter, _ *http.Request) {
	response.Header().Set("Link", "</style.css>; rel=preload")
	response.WriteHeader(http.StatusEarlyHints)
	_, _ = io.WriteString(response, "after hints\n")
}

func status(response http.ResponseWriter, request *http.Request) {
	code, err := strconv.Atoi(request.PathValue("code"))
	if err != nil {
		code = http.StatusBadRequest
	}
	response.WriteHeader(code)
}
