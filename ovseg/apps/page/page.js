// The page in the browser: shows the states that the server answers with, and asks for acts.
//
// Acts wait in one queue and are sent one after the other, so that none is lost while the server is slow. An
// act on a photo carries the number of the photo that was seen. An answer holds all that is shown, and is put
// in place at once: name, cards and picture always belong together.
'use strict';

const MOVING = ['open', 'upload', 'move', 'accept', 'skip'];  // another photo comes
const ON_PHOTO = ['click', 'leave', 'undo', 'threshold', 'skip'];  // the photo that they change has to be seen
const MOST_WAITING = 50, AGAIN = 2000, MOST_ZOOM = 12, DRAGGED = 6, STAYS = 5000, LONGEST_PRESS = 5000;
const at = id => document.getElementById(id);
const queue = [];
let state = null, chosen = null, given = '', working = false, lost = false;
let released = Promise.resolve();  // a browser gives no click where what was pressed is replaced before it is let go

// ---------------------------------------------------------------------------------------- asking

function ask(act, values = {}) {
  const moves = queue.some(one => MOVING.includes(one.act));
  if (moves && ON_PHOTO.includes(act)) return refuse('Not done: the next photo is on its way. Wait until it is shown.');
  if (queue.length && act === 'accept') return refuse('Not done: the masks are still being made. Look at them, then decide.');
  if (queue.length >= MOST_WAITING) return refuse('Not done: too much waits for the server.');
  queue.push({act, values: {photo: state?.photo, ...values}});
  busy();
  work();
}

async function work() {
  if (working) return;
  working = true;
  while (queue.length) {
    try {
      const answer = await send(queue[0]);
      await show(answer, queue[0].act);
      queue.shift();
      if (answer.cards === null && !queue.length) queue.push({act: 'look', values: {}});
    } catch (error) {
      const steps = queue.splice(0).filter(one => one.act !== 'look').length;
      lost = true;
      say(`The server does not answer${steps ? '; the last step may not have been done' : ''}. Trying again …`, true);
      setTimeout(() => ask('look'), AGAIN);
    }
  }
  working = false;
  busy();
}

async function send({act, values: {file, ...values}}) {
  const answer = file
    ? await fetch(`photos?${new URLSearchParams({name: file.name, show: values.show})}`, {method: 'POST', body: file})
    : await fetch('act', {
        method: 'POST', headers: {'Content-Type': 'application/json'},
        body: JSON.stringify({act, what: checked('what'), key: state?.key, ...values}),
      });
  const content = await answer.json();
  if (answer.ok) return content;
  if (!state) throw new Error(content.error);
  return {...state, line: content.error, failed: true};
}

function busy() {
  document.body.classList.toggle('busy', queue.length > 0);
  at('ov-picture').dataset.working = queue.length > 1 ? `Working … ${queue.length - 1} waiting` : 'Working …';
  at('ov-list').setAttribute('aria-busy', queue.length > 0);
}

// --------------------------------------------------------------------------------------- showing

async function show(answer, act) {
  const picture = answer.picture ? Object.assign(new Image(), {src: answer.picture, alt: `${answer.name} with its masks`, draggable: false}) : null;
  if (picture) await picture.decode();
  await released;
  const other = answer.photo !== state?.photo;
  picture?.setAttribute('data-photo', answer.photo);
  state = answer;
  showPicture(picture, other);
  showWhere();
  showCards();
  fillWords(answer.words);
  if (answer.line) say(answer.line, answer.failed);
  else if (act !== 'look' || lost || !at('ov-line').querySelector('.ov-done, .ov-error')) say(answer.hint, null);
  lost = false;
  document.title = answer.name ? `${answer.name} – ovseg` : 'ovseg';
}

function showPicture(picture, other) {
  const frame = at('ov-picture');
  frame.querySelector('img')?.remove();
  if (picture) frame.append(picture);
  at('ov-problem').textContent = state.problem;
  at('ov-problem').hidden = !state.problem;
  if (other) Object.assign(zoom, {scale: 1, x: 0, y: 0});
  place();
}

function showWhere() {
  at('ov-folder').hidden = !state.may_open;
  if (!at('ov-formats').children.length) at('ov-formats').append(...state.formats.map(formatOf));
  at('ov-name').textContent = state.name || 'No photo yet';
  at('ov-state').textContent = state.state;
  at('ov-state').className = state.state.split(' ')[0];
  at('ov-progress').textContent = state.progress;
  at('ov-bar').firstElementChild.style.width = `${100 * state.share}%`;
  at('ov-bar').hidden = !state.total;
}

function showCards() {
  const list = at('ov-list');
  const next = queue.slice(1).filter(one => one.act === 'choose').pop();
  chosen = next?.values.word ?? state.cards?.find(card => card.chosen)?.word ?? chosen;
  if (state.cards === null) return list.replaceChildren(part('p', 'quiet', 'The masks of this photo are being made …'));
  if (!state.cards.length) return list.replaceChildren(part('p', 'quiet', 'The map of each word appears here.'));
  const focused = list.contains(document.activeElement) && document.activeElement;
  const [word, kind] = focused ? [focused.closest('.ov-word').dataset.word, focused.localName] : [];
  list.replaceChildren(...state.cards.map(cardOf));
  if (focused) [...list.children].find(row => row.dataset.word === word)?.querySelector(kind).focus();
}

function cardOf(card, index) {
  const name = part('span', 'ov-name', part('i'), part('span', '', card.word), part('em', '', card.said));
  name.firstChild.style.background = card.colour;
  const meter = part('span', 'ov-meter', part('i'), part('u'));
  meter.firstChild.style.width = `${100 * card.presence}%`;
  meter.lastChild.style.left = `${100 * card.threshold}%`;
  const presence = part('span', 'ov-presence', meter, card.presence.toFixed(2));
  presence.title = 'Presence: how likely the word is in the photo. The mark is the threshold.';
  const map = Object.assign(new Image(), {src: card.map, alt: `Map of ${card.word}`});
  const button = part('button', 'ov-card', map, part('span', 'ov-text', name, presence, part('span', 'ov-unknown', card.unknown), part('span', 'ov-why', card.reason)));
  button.classList.toggle('ov-absent', !card.there);
  button.setAttribute('role', 'option');
  button.title = index < 9 ? `${index + 1}` : '';
  button.onclick = () => choose(card.word);
  const row = part('div', 'ov-word', button, thresholdOf(card));
  row.dataset.word = card.word;
  mark(row, card.word === chosen);
  return row;
}

function thresholdOf(card) {
  const slider = Object.assign(document.createElement('input'),
    {type: 'range', min: 0, max: 1, step: 0.01, value: card.threshold});
  const number = part('output', '', card.threshold.toFixed(2));
  slider.setAttribute('aria-label', `Threshold of ${card.word}`);
  slider.oninput = () => { number.textContent = Number(slider.value).toFixed(2); };
  slider.onchange = () => {
    if (at('ov-typed').value !== given) find();  // so that what is being typed is not lost
    ask('threshold', {word: card.word, threshold: Number(slider.value)});
  };
  return part('label', 'ov-threshold', 'masks from presence', slider, number);
}

function mark(row, isChosen) {
  row.classList.toggle('chosen', isChosen);
  row.querySelector('.ov-card').setAttribute('aria-selected', isChosen);
}

function formatOf(name, index) {
  const box = Object.assign(document.createElement('input'), {type: 'checkbox', value: name, checked: index === 0});
  return part('label', '', box, name);
}

function fillWords(words) {
  const field = at('ov-typed');
  if (field.value === given || field.value === words) field.value = words;  // else the user has typed on
  given = words;
  grow();
}

function grow() {
  const field = at('ov-typed');
  field.rows = Math.min(8, Math.max(2, field.value.split('\n').length));
}

function say(line, failed) {
  const kind = failed === null ? 'ov-next' : failed ? 'ov-error' : 'ov-done';
  const message = part('div', `ov-message ${kind}`, line);
  message.setAttribute('role', failed ? 'alert' : 'status');
  at('ov-line').querySelector('.ov-said')?.remove();
  message.classList.add('ov-said');
  at('ov-line').prepend(message);
}

function refuse(line) {
  const message = part('div', 'ov-message ov-error', line);
  message.setAttribute('role', 'alert');
  at('ov-line').append(message);  // the next answer does not take its place
  setTimeout(() => message.remove(), STAYS);
}

function part(tag, name = '', ...inside) {
  const made = document.createElement(tag);
  made.className = name;
  made.append(...inside);  // as text, never as HTML
  return made;
}

// ------------------------------------------------------------------------------------------ acts

const checked = name => document.querySelector(`input[name=${name}]:checked`).value;

function turn(name) {
  const all = [...document.querySelectorAll(`input[name=${name}]`)];
  all[(all.findIndex(one => one.checked) + 1) % all.length].click();
}

function find() {
  ask('find', {words: at('ov-typed').value});
}

function choose(word) {
  chosen = word;
  document.querySelectorAll('.ov-word').forEach(row => mark(row, row.dataset.word === word));
  ask('choose', {word});
}

function click(event, on) {
  const picture = event.target.closest('#ov-picture img');
  if (!picture) return;
  const box = picture.getBoundingClientRect();
  const share = (value, low, size) => Math.min(1, Math.max(0, (value - low) / size));
  const [x, y] = [share(event.clientX, box.left, box.width), share(event.clientY, box.top, box.height)];
  ask('click', {x, y, on, photo: Number(picture.dataset.photo), word: state.cards?.length ? chosen : null});
}

// ------------------------------------------------------------------------------------------ zoom

const zoom = {scale: 1, x: 0, y: 0, from: null, dragged: false};

function place() {
  const frame = at('ov-picture'), picture = frame.querySelector('img');
  frame.classList.toggle('zoomed', zoom.scale > 1);
  if (!picture) return;
  frame.style.setProperty('--ratio', picture.naturalWidth / picture.naturalHeight);
  const fit = Math.min(frame.clientWidth / picture.naturalWidth, frame.clientHeight / picture.naturalHeight);
  const [width, height] = [picture.naturalWidth * fit, picture.naturalHeight * fit];
  Object.assign(picture.style, {width: `${width}px`, height: `${height}px`});
  const within = (value, most) => Math.min(most, Math.max(-most, value));
  zoom.x = within(zoom.x, width * (zoom.scale - 1) / 2);  // the photo cannot be moved out of sight
  zoom.y = within(zoom.y, height * (zoom.scale - 1) / 2);
  picture.style.transform = `translate(${zoom.x}px, ${zoom.y}px) scale(${zoom.scale})`;
}

function enlarge(by, event = null) {
  const frame = at('ov-picture').getBoundingClientRect();
  const [x, y] = event ? [event.clientX - frame.x - frame.width / 2, event.clientY - frame.y - frame.height / 2] : [0, 0];
  const scale = Math.min(MOST_ZOOM, Math.max(1, zoom.scale * by)), grown = scale / zoom.scale;
  Object.assign(zoom, {scale, x: x - (x - zoom.x) * grown, y: y - (y - zoom.y) * grown});
  place();
}

// ---------------------------------------------------------------------------------------- events

const KEYS = {
  '/': () => at('ov-typed').focus(), 'n': () => at('ov-forth').click(), 'p': () => at('ov-back').click(),
  'ArrowRight': () => at('ov-forth').click(), 'ArrowLeft': () => at('ov-back').click(),
  'a': () => at('ov-accept').click(), 's': () => at('ov-skip').click(), 'u': () => at('ov-undo').click(),
  'x': () => at('ov-leave').click(), 'r': () => turn('side'), 'm': () => turn('what'),
  '+': () => enlarge(1.5), '=': () => enlarge(1.5), '-': () => enlarge(1 / 1.5), '0': () => enlarge(0),
};

document.addEventListener('keydown', event => {
  const {target, key} = event;
  if (target.id === 'ov-typed' && key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at('ov-picture').focus();
    return find();
  }
  if (key === 'Escape') return target.blur();
  if (target.matches('textarea, input:not([type=radio], [type=checkbox])')) return;
  if (key === 'z' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();  // the browser would take back what was typed
    return at('ov-undo').click();
  }
  if (event.ctrlKey || event.metaKey || event.altKey || (event.repeat && !'+-='.includes(key))) return;
  if (key.startsWith('Arrow') && target.matches('input')) return;
  const word = /^[1-9]$/.test(key) && document.querySelectorAll('.ov-word')[key - 1];
  if (!word && !KEYS[key]) return;
  event.preventDefault();
  if (word) choose(word.dataset.word);
  else KEYS[key]();
});

addEventListener('pointerdown', () => {
  released = new Promise(done => {
    const end = () => setTimeout(done);  // after the click
    for (const kind of ['pointerup', 'pointercancel']) addEventListener(kind, end, {once: true});
    setTimeout(done, LONGEST_PRESS);
  });
}, true);

function listen() {
  const frame = at('ov-picture'), files = at('ov-add').querySelector('input'), folder = at('ov-folder');
  const on = (id, act) => at(id).addEventListener('click', act);
  folder.onsubmit = event => { event.preventDefault(); ask('open', {folder: folder.querySelector('input').value}); };
  files.onchange = () => {
    [...files.files].forEach((file, index) => ask('upload', {file, show: index ? 0 : 1}));
    files.value = '';
  };
  at('ov-add').onkeydown = event => { if (event.key === 'Enter' || event.key === ' ') files.click(); };
  at('ov-words').onsubmit = event => { event.preventDefault(); find(); };
  at('ov-typed').oninput = grow;
  document.querySelectorAll('input[name=what]').forEach(one => { one.onchange = () => ask('look'); });
  on('ov-undo', () => ask('undo'));
  on('ov-leave', () => ask('leave'));
  on('ov-back', () => ask('move', {on: false}));
  on('ov-forth', () => ask('move', {on: true}));
  on('ov-skip', () => ask('skip'));
  on('ov-accept', () => ask('accept'));
  on('ov-out', () => enlarge(1 / 1.5));
  on('ov-in', () => enlarge(1.5));
  on('ov-fit', () => enlarge(0));
  at('ov-export').querySelector('form').onsubmit = event => {
    event.preventDefault();
    ask('export', {formats: [...document.querySelectorAll('#ov-formats input:checked')].map(one => one.value)});
  };
  frame.addEventListener('wheel', event => { event.preventDefault(); enlarge(1.2 ** -Math.sign(event.deltaY), event); }, {passive: false});
  frame.onpointerdown = event => { Object.assign(zoom, {from: [event.clientX - zoom.x, event.clientY - zoom.y], begun: [event.clientX, event.clientY], dragged: false}); };
  window.onpointermove = event => {
    if (!zoom.from || zoom.scale === 1) return;
    zoom.dragged ||= Math.hypot(event.clientX - zoom.begun[0], event.clientY - zoom.begun[1]) > DRAGGED;
    if (!zoom.dragged) return;
    Object.assign(zoom, {x: event.clientX - zoom.from[0], y: event.clientY - zoom.from[1]});
    place();
  };
  window.onpointerup = () => { zoom.from = null; };
  frame.onclick = event => { if (!zoom.dragged) click(event, checked('side') === 'on' && !event.shiftKey); };
  frame.oncontextmenu = event => { event.preventDefault(); click(event, false); };
  window.onresize = place;
}

listen();
ask('look');
