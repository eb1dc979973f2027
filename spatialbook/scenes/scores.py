"""temporary"""
import zipfile, xml.etree.ElementTree as ET
from ..core import home
STEP=dict(C=0,D=2,E=4,F=5,G=7,A=9,B=11)
def pieces(composer='bach', held_out=None):
    fs=sorted(p for p in (home()/'assets'/'scores'/composer).rglob('*') if p.suffix in ('.mxl','.xml','.musicxml'))
    return [p for i,p in enumerate(fs) if held_out is None or (i%8==0)==held_out]
def parse(path, bpm=84):
    path=str(path)
    if path.endswith('.mxl'):
        z=zipfile.ZipFile(path); n=[x for x in z.namelist() if x.endswith(('.xml','.musicxml')) and not x.startswith('META-INF')][0]; root=ET.fromstring(z.read(n))
    else: root=ET.parse(path).getroot()
    out=[]
    for part in root.findall('part'):
        ev=[];t=0.;div=1;last=None;open_={}
        for meas in part.findall('measure'):
            for e in meas:
                if e.tag=='attributes':
                    d=e.find('divisions'); div=float(d.text) if d is not None else div
                elif e.tag=='backup': t-=float(e.find('duration').text)/div
                elif e.tag=='forward': t+=float(e.find('duration').text)/div
                elif e.tag=='note':
                    if e.find('grace') is not None: continue
                    du=float(e.find('duration').text)/div; ch=e.find('chord') is not None; s=last if ch else t
                    p=e.find('pitch')
                    if p is not None:
                        k=12*(int(p.find('octave').text)+1)+STEP[p.find('step').text]+int(float(p.findtext('alter','0')))
                        ties={x.get('type') for x in e.findall('tie')}
                        if 'stop' in ties and k in open_: open_[k][1]=s+du
                        else: ev.append([s,s+du,k])
                        if 'start' in ties: open_[k]=ev[-1] if 'stop' not in ties else open_.get(k,ev[-1])
                        elif k in open_: open_.pop(k)
                    if not ch: last=t; t+=du
        out.append([(a*60/bpm,b*60/bpm,k) for a,b,k in ev])
    return out
