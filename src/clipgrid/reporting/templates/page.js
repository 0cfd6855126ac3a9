"use strict";
// What the scripts of both pages begin with.

const one = (selector, of = document) => of.querySelector(selector);
const all = (selector, of = document) => [...of.querySelectorAll(selector)];
const element = (name, ...children) => {
  const made = document.createElement(name);
  made.append(...children);
  return made;
};

