"""The harness: scores anybody's frames. Knows `lnm` only through files. Import its modules, never `import eval`."""
