// Checks a checkpoint of tailnas with the implementation of signed notes that the Go project uses for its own
// transparency log, and its root with that project's tree.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// The hashes of a tree, as tlog wants to read them.
type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		found[i] = h[index]
	}
	return found, nil
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 4 {
		log.Fatal("usage: note VKEY CHECKPOINTS LOG...")
	}
	verifier, err := note.NewVerifier(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	file, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}

	// The hash of each record, from the line as it stands there.
	var leaves []tlog.Hash
	for _, name := range os.Args[3:] {
		records, err := os.Open(name)
		if err != nil {
			log.Fatal(err)
		}
		lines := bufio.NewScanner(records)
		for lines.Scan() {
			body := lines.Bytes()[:len(lines.Bytes())-75]
			var record struct{ Hash string }
			if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
				log.Fatal(err)
			}
			leaf := tlog.RecordHash(body)
			if hex.EncodeToString(leaf[:]) != record.Hash {
				log.Fatalf("record %d has another hash", len(leaves))
			}
			leaves = append(leaves, leaf)
		}
	}
	var stored hashes
	for i, leaf := range leaves {
		more, err := tlog.StoredHashesForRecordHash(int64(i), leaf, stored)
		if err != nil {
			log.Fatal(err)
		}
		stored = append(stored, more...)
	}

	checked := 0
	// Text, empty line, signature, empty line, and so on.
	parts := bytes.Split(bytes.TrimSpace(file), []byte("\n\n"))
	for ; len(parts) >= 2; parts = parts[2:] {
		text := []byte(fmt.Sprintf("%s\n\n%s\n", parts[0], parts[1]))
		opened, err := note.Open(text, note.VerifierList(verifier))
		if err != nil {
			log.Fatalf("%v:\n%s", err, text)
		}
		lines := strings.Split(opened.Text, "\n")
		if lines[0] != verifier.Name() {
			log.Fatalf("its origin is %q", lines[0])
		}
		size, err := strconv.ParseInt(lines[1], 10, 64)
		if err != nil {
			log.Fatal(err)
		}
		root, err := tlog.TreeHash(size, stored)
		if err != nil {
			log.Fatal(err)
		}
		if base64.StdEncoding.EncodeToString(root[:]) != lines[2] {
			log.Fatalf("the root over %d records is another one", size)
		}
		checked++
	}
	if checked == 0 {
		log.Fatal("there is no checkpoint")
	}
	fmt.Printf("%d checkpoints over %d records: signatures and roots hold\n", checked, len(leaves))
}
